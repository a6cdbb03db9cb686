-- Attempts when nothing is hidden: the text of attempts_live for all_attempts.
SELECT
    a.project,
    a.run,
    a.attempt,
    CAST(NULL AS BIGINT) AS superseded_from  -- Always NULL.
FROM attempts AS a
