-- Units that fired on no rank, one row per (step, module, site, phase): bitmaps of ranks merged.
WITH w AS (
    SELECT
        s.project,
        s.run,
        s.step,
        s.module_id,
        s.site,
        s.phase,
        MAX(s.n_units) AS n_units,
        MIN(s.n_dead) AS n_dead,
        MAX(s.window_samples) AS window_samples,
        MIN(s.n_dead) > 0 AND MIN(s.dead) <> MAX(s.dead) AS differs,
        ROW_NUMBER() OVER (
            ORDER BY s.project, s.run, s.step, s.module_id, s.site, s.phase
        ) AS point
    FROM module_rows AS s
    WHERE s.n_dead IS NOT NULL
    GROUP BY s.project, s.run, s.step, s.module_id, s.site, s.phase
),

h AS (
    SELECT
        w.point,
        CONCAT(HEX(r.dead), '000000') AS digits,  -- Eight for each word of 32 units.
        OCTET_LENGTH(r.dead) AS n_bytes
    FROM w
    JOIN module_rows AS r
        ON r.project = w.project
        AND r.run = w.run
        AND r.step = w.step
        AND r.module_id = w.module_id
        AND r.site = w.site
        AND r.phase = w.phase
    WHERE w.differs
),

t AS (
    SELECT
        h.point,
        u.i,
        SUBSTR(h.digits, 8 * u.i + 1, 8) AS digits
    FROM h
    CROSS JOIN UNNEST(GENERATE_SERIES(0, (h.n_bytes - 1) // 4)) AS u(i)
),

b AS (
    SELECT
        t.point,
        BIT_AND(
            268435456 * (STRPOS('0123456789ABCDEF', SUBSTR(t.digits, 1, 1)) - 1)
            + 16777216 * (STRPOS('0123456789ABCDEF', SUBSTR(t.digits, 2, 1)) - 1)
            + 1048576 * (STRPOS('0123456789ABCDEF', SUBSTR(t.digits, 3, 1)) - 1)
            + 65536 * (STRPOS('0123456789ABCDEF', SUBSTR(t.digits, 4, 1)) - 1)
            + 4096 * (STRPOS('0123456789ABCDEF', SUBSTR(t.digits, 5, 1)) - 1)
            + 256 * (STRPOS('0123456789ABCDEF', SUBSTR(t.digits, 6, 1)) - 1)
            + 16 * (STRPOS('0123456789ABCDEF', SUBSTR(t.digits, 7, 1)) - 1)
            + STRPOS('0123456789ABCDEF', SUBSTR(t.digits, 8, 1)) - 1
        ) AS bits
    FROM t
    GROUP BY t.point, t.i
),

d AS (
    SELECT
        b.point,
        CAST(SUM(BIT_COUNT(b.bits)) AS INTEGER) AS n_dead
    FROM b
    GROUP BY b.point
)

SELECT
    w.project,
    w.run,
    w.step,
    w.module_id,
    w.site,
    w.phase,
    w.n_units,
    COALESCE(d.n_dead, w.n_dead) AS n_dead,  -- Units that fired in no rank's window.
    w.window_samples  -- Positions of the fullest window; 512 or more: it is complete.
FROM w
LEFT JOIN d
    ON d.point = w.point
