-- step_rows with gradient norms of all ranks where each holds a part of the parameters.
SELECT
    r.project,
    r.run,
    r.rank,
    r.*,  -- columns of steps
    CASE
        WHEN t.sharded IS NOT NULL THEN SQRT(t.replicated + t.sharded)
        ELSE r.grad_norm_total
    END AS grad_norm_total,
    CASE
        WHEN t.sharded IS NULL THEN r.micro_grad_sumsq
        WHEN t.replicated <= 1e-9 * t.sharded THEN t.micro
    END AS micro_grad_sumsq
FROM step_rows AS r
LEFT JOIN (
    SELECT
        s.project,
        s.run,
        s.step,
        s.attempt,
        SUM(s.sharded_grad_sumsq) AS sharded,
        SUM(s.micro_grad_sumsq) AS micro,
        MAX(GREATEST(s.grad_norm_total * s.grad_norm_total - s.sharded_grad_sumsq, 0))
            AS replicated
    FROM step_rows AS s
    WHERE s.sharded_grad_sumsq IS NOT NULL
        AND s.grad_norm_total IS NOT NULL
    GROUP BY s.project, s.run, s.step, s.attempt
) AS t
    ON t.project = r.project
    AND t.run = r.run
    AND t.step = r.step
    AND t.attempt = r.attempt
