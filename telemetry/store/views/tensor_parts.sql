-- What is added up over ranks: each part of a sharded tensor, one copy of a replicated one.
WITH w AS (
    SELECT
        s.project,
        s.run,
        s.step,
        s.attempt,
        s.tensor_id,
        MIN(s.rank) AS rank,
        COUNT(DISTINCT s.rank) AS n_ranks,
        CAST(SUM(s.n) AS DOUBLE) AS n,
        SUM(s.n_sampled) / CAST(SUM(s.n) AS DOUBLE) AS sampled_share
    FROM tensor_rows AS s
    GROUP BY s.project, s.run, s.step, s.attempt, s.tensor_id
)

SELECT
    r.project,
    r.run,
    r.rank,
    r.*,  -- columns of tensor_stats
    w.n_ranks,
    -- Below 1 where ranks hold copies of a shard, above 1 where the row of a shard is missing.
    CASE WHEN t.sharding = 'sharded' AND w.n > 0 THEN t.n / w.n ELSE 1.0 END AS share,
    CASE
        WHEN t.sharding = 'sharded' AND r.n_sampled > 0
            THEN t.n / w.n * (r.n / CAST(r.n_sampled AS DOUBLE) * w.sampled_share)
        ELSE 1.0
    END AS weight  -- The share, more for a shard of which fewer elements were read.
FROM tensor_rows AS r
JOIN w
    ON w.project = r.project
    AND w.run = r.run
    AND w.step = r.step
    AND w.attempt = r.attempt
    AND w.tensor_id = r.tensor_id
LEFT JOIN tensors AS t
    ON t.project = r.project
    AND t.run = r.run
    AND t.tensor_id = r.param_id
WHERE r.rank = w.rank
    OR t.sharding = 'sharded'
