-- Rows of tensor_stats, one per rank, without those that a later attempt repeated.
SELECT
    s.project,
    s.run,
    s.rank,
    s.*  -- columns of tensor_stats
FROM raw_tensor_stats AS s
JOIN attempts_live AS a
    ON a.project = s.project
    AND a.run = s.run
    AND a.attempt = s.attempt
WHERE a.superseded_from IS NULL
    OR s.step < a.superseded_from
