-- Values of module_stats.profile, one row each; filter by layer and site, for it is costly.
WITH h AS (
    SELECT
        r.project,
        r.run,
        r.rank,
        r.step,
        r.module_id,
        r.site,
        r.phase,
        r.loss_op,
        r.n_profile,
        HEX(r.profile) AS digits,
        OCTET_LENGTH(r.profile) // 4 AS n_kept
    FROM module_rows AS r
    WHERE r.profile IS NOT NULL
        AND r.n_profile > 0
),

w AS (
    SELECT
        h.project,
        h.run,
        h.rank,
        h.step,
        h.module_id,
        h.site,
        h.phase,
        h.loss_op,
        h.n_profile - h.n_kept + u.i AS position,
        SUBSTR(h.digits, 8 * u.i + 1, 8) AS digits
    FROM h
    CROSS JOIN UNNEST(GENERATE_SERIES(0, h.n_kept - 1)) AS u(i)
),

b AS (
    SELECT
        w.project,
        w.run,
        w.rank,
        w.step,
        w.module_id,
        w.site,
        w.phase,
        w.loss_op,
        w.position,
        16 * (STRPOS('0123456789ABCDEF', SUBSTR(w.digits, 1, 1)) - 1)
            + STRPOS('0123456789ABCDEF', SUBSTR(w.digits, 2, 1)) - 1 AS b0,
        16 * (STRPOS('0123456789ABCDEF', SUBSTR(w.digits, 3, 1)) - 1)
            + STRPOS('0123456789ABCDEF', SUBSTR(w.digits, 4, 1)) - 1 AS b1,
        16 * (STRPOS('0123456789ABCDEF', SUBSTR(w.digits, 5, 1)) - 1)
            + STRPOS('0123456789ABCDEF', SUBSTR(w.digits, 6, 1)) - 1 AS b2,
        16 * (STRPOS('0123456789ABCDEF', SUBSTR(w.digits, 7, 1)) - 1)
            + STRPOS('0123456789ABCDEF', SUBSTR(w.digits, 8, 1)) - 1 AS b3
    FROM w
),

f AS (
    SELECT
        b.project,
        b.run,
        b.rank,
        b.step,
        b.module_id,
        b.site,
        b.phase,
        b.loss_op,
        b.position,
        CASE WHEN b.b3 >= 128 THEN -1 ELSE 1 END AS sgn,
        2 * (b.b3 % 128) + b.b2 // 128 AS exponent,
        65536 * (b.b2 % 128) + 256 * b.b1 + b.b0 AS mantissa
    FROM b
)

SELECT
    f.project,
    f.run,
    f.rank,
    f.step,
    m.path AS layer,  -- Module path.
    m.type,
    f.site,
    f.phase,
    f.loss_op,
    CAST(f.position AS BIGINT) AS position,  -- Class, feature, time step or call, from 0.
    CASE
        WHEN f.exponent = 255
            THEN CASE
                WHEN f.mantissa > 0 THEN CAST('NaN' AS DOUBLE)
                ELSE f.sgn * CAST('Infinity' AS DOUBLE)
            END
        WHEN f.exponent = 0 THEN f.sgn * f.mantissa * POWER(2.0, -149)
        ELSE f.sgn * (1 + f.mantissa / 8388608.0) * POWER(2.0, f.exponent - 127)
    END AS value  -- Examples of a class, standard deviation of a feature, else norm of a gradient.
FROM f
JOIN modules AS m
    ON m.project = f.project
    AND m.run = f.run
    AND m.module_id = f.module_id
