-- Decoded histograms, one row per (step, rank, tensor, bin); a replicated tensor is of one rank.
SELECT
    s.project,
    s.run,
    s.step,
    s.rank,
    s.tensor_id,
    s.kind,
    s.sgn,
    s.hist_exp - s.off AS exponent,  -- Values lie in [2^exponent, 2^(exponent + 1)), times sgn.
    s.off = 31 AS is_underflow,  -- All magnitudes below 2^(exponent + 1).
    CASE
        WHEN s.code > 0 THEN s.share * ROUND(POWER(2.0, (s.code - 1) / 8.0))
        ELSE 0
    END AS cnt  -- Elements, of all ranks together.
FROM (
    SELECT
        r.project,
        r.run,
        r.step,
        r.rank,
        r.tensor_id,
        r.kind,
        r.hist_exp,
        r.share,
        x.sgn,
        x.off,
        16 * (STRPOS('0123456789ABCDEF', SUBSTR(HEX(r.hist), 2 * x.i + 1, 1)) - 1)
            + STRPOS('0123456789ABCDEF', SUBSTR(HEX(r.hist), 2 * x.i + 2, 1)) - 1 AS code
    FROM tensor_parts AS r
    CROSS JOIN bins AS x
    WHERE r.hist IS NOT NULL
) AS s
