-- Quantiles of gradients and weights by histogram; filter by step or tensor_id, for it is costly.
WITH c AS (
    SELECT
        h.project,
        h.run,
        h.step,
        h.tensor_id,
        h.sgn,
        h.exponent,
        h.is_underflow,
        SUM(h.cnt) AS cnt
    FROM hist_counts AS h
    WHERE h.cnt > 0
    GROUP BY h.project, h.run, h.step, h.tensor_id, h.sgn, h.exponent, h.is_underflow
    UNION ALL
    SELECT
        z.project,
        z.run,
        z.step,
        z.tensor_id,
        0 AS sgn,
        0 AS exponent,
        FALSE AS is_underflow,
        CAST(z.n_zero AS DOUBLE) AS cnt
    FROM tensor_points AS z
    WHERE z.n_zero > 0
        AND z.kind IN ('weight', 'gradient')
),

w AS (
    SELECT
        c.project,
        c.run,
        c.step,
        c.tensor_id,
        c.sgn,
        c.exponent,
        c.is_underflow,
        c.cnt,
        p.kind,
        p.min AS lo,
        p.max AS hi,
        p.n_sampled * (1.0 - CAST(p.n_nan + p.n_inf AS DOUBLE) / p.n) AS total,
        p.n_sampled * (1.0 - CAST(p.n_nan + p.n_inf AS DOUBLE) / p.n) - p.n_zero AS nonzero,
        SUM(CASE WHEN c.sgn <> 0 THEN c.cnt ELSE 0 END) OVER (
            PARTITION BY c.project, c.run, c.step, c.tensor_id
        ) AS raw
    FROM c
    JOIN tensor_points AS p
        ON p.project = c.project
        AND p.run = c.run
        AND p.step = c.step
        AND p.tensor_id = c.tensor_id
    WHERE p.n > 0
        AND p.n_sampled > 0
),

m AS (
    SELECT
        w.project,
        w.run,
        w.step,
        w.tensor_id,
        w.kind,
        w.sgn,
        w.exponent,
        w.is_underflow,
        w.total,
        CASE WHEN w.sgn = 0 THEN w.cnt ELSE w.cnt * w.nonzero / w.raw END AS mass,
        CASE
            WHEN w.sgn = 0 THEN 0.0
            WHEN w.sgn > 0
                THEN GREATEST(
                    CASE WHEN w.is_underflow THEN 0.0 ELSE POWER(2.0, w.exponent) END,
                    w.lo
                )
            ELSE GREATEST(-POWER(2.0, w.exponent + 1), w.lo)
        END AS a,
        CASE
            WHEN w.sgn = 0 THEN 0.0
            WHEN w.sgn < 0
                THEN LEAST(
                    CASE WHEN w.is_underflow THEN 0.0 ELSE -POWER(2.0, w.exponent) END,
                    w.hi
                )
            ELSE LEAST(POWER(2.0, w.exponent + 1), w.hi)
        END AS b
    FROM w
),

u AS (
    SELECT
        m.project,
        m.run,
        m.step,
        m.tensor_id,
        m.kind,
        m.sgn,
        m.exponent,
        m.is_underflow,
        m.total,
        m.mass,
        m.a,
        m.b,
        SUM(m.mass) OVER (
            PARTITION BY m.project, m.run, m.step, m.tensor_id
            ORDER BY m.sgn, m.sgn * m.exponent, m.is_underflow
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS cum
    FROM m
    WHERE m.mass > 0
),

v AS (
    SELECT
        u.project,
        u.run,
        u.step,
        u.tensor_id,
        u.kind,
        u.total,
        u.mass,
        u.a,
        u.b,
        u.cum,
        -- LAG, not cum - mass: rounding gave 10 duplicate rows in 1,010
        COALESCE(
            LAG(u.cum) OVER (
                PARTITION BY u.project, u.run, u.step, u.tensor_id
                ORDER BY u.sgn, u.sgn * u.exponent, u.is_underflow
            ),
            0
        ) AS prev
    FROM u
),

x AS (
    SELECT
        v.project,
        v.run,
        v.step,
        v.tensor_id,
        v.kind,
        q.q,
        v.a + (v.b - v.a) * (q.q * v.total - v.prev) / v.mass AS value
    FROM v
    CROSS JOIN (VALUES (0.01), (0.05), (0.25), (0.5), (0.75), (0.95), (0.99)) AS q(q)
    WHERE v.prev < q.q * v.total
        AND v.cum >= q.q * v.total
)

SELECT
    x.project,
    x.run,
    x.step,
    t.module AS layer,  -- Path of the module that owns the parameter.
    t.name AS parameter,  -- Full parameter name.
    x.kind,
    x.tensor_id,
    MAX(CASE WHEN x.q = 0.01 THEN x.value END) AS p01,  -- Quantile 0.01.
    MAX(CASE WHEN x.q = 0.05 THEN x.value END) AS p05,  -- Quantile 0.05.
    MAX(CASE WHEN x.q = 0.25 THEN x.value END) AS p25,  -- Quantile 0.25.
    MAX(CASE WHEN x.q = 0.5 THEN x.value END) AS p50,  -- Quantile 0.5.
    MAX(CASE WHEN x.q = 0.75 THEN x.value END) AS p75,  -- Quantile 0.75.
    MAX(CASE WHEN x.q = 0.95 THEN x.value END) AS p95,  -- Quantile 0.95.
    MAX(CASE WHEN x.q = 0.99 THEN x.value END) AS p99  -- Quantile 0.99.
FROM x
JOIN tensors AS t
    ON t.project = x.project
    AND t.run = x.run
    AND t.tensor_id = x.tensor_id
GROUP BY x.project, x.run, x.step, t.module, t.name, x.kind, x.tensor_id
