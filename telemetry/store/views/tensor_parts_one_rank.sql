-- tensor_parts where each run has one rank: every row counts once.
SELECT
    r.project,
    r.run,
    r.rank,
    r.*,  -- columns of tensor_stats
    CAST(1 AS BIGINT) AS n_ranks,
    CAST(1.0 AS DOUBLE) AS share,
    CAST(1.0 AS DOUBLE) AS weight
FROM tensor_rows AS r
