-- One row per optimizer step and rank, without those that a later attempt repeated.
SELECT
    s.project,
    s.run,
    s.rank,
    s.*  -- columns of steps
FROM step_norms AS s
JOIN attempts_live AS a
    ON a.project = s.project
    AND a.run = s.run
    AND a.attempt = s.attempt
WHERE a.superseded_from IS NULL
    OR s.step < a.superseded_from
