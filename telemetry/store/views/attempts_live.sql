-- Attempts with the step from which a later one repeats them; NULL for the last.
SELECT
    a.project,
    a.run,
    a.attempt,
    MIN(b.start_step) AS superseded_from  -- First step that a later one repeated, or NULL.
FROM attempts AS a
LEFT JOIN attempts AS b
    ON b.project = a.project
    AND b.run = a.run
    AND b.attempt > a.attempt
GROUP BY a.project, a.run, a.attempt
