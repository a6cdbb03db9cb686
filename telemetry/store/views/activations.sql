-- One row per (step, module, site, phase): what modules put out, ranks merged.
SELECT
    s.project,
    s.run,
    s.step,
    m.path AS layer,  -- Module path.
    m.type,
    m.depth,
    s.site,
    s.phase,
    s.module_id,
    SUM(s.sum) / SUM(s.n) AS mean,  -- Mean of the elements.
    CASE
        WHEN SUM(s.sum) IS NOT NULL  -- GREATEST would make 0 of NULL
            THEN SQRT(
                GREATEST(
                    SUM(s.sumsq) / SUM(s.n) - (SUM(s.sum) / SUM(s.n)) * (SUM(s.sum) / SUM(s.n)),
                    0
                )
            )
    END AS std,  -- Standard deviation of the elements.
    SQRT(SUM(s.sumsq) / SUM(s.n)) AS rms,  -- Root mean square of the elements; all a gradient has.
    MAX(s.absmax) AS absmax,
    CAST(SUM(s.n_zero) AS DOUBLE) / SUM(s.n) AS zero_share,  -- Share of elements that are zero.
    MAX(s.n_units) AS n_units,
    CAST(MIN(d.n_dead) AS DOUBLE) / NULLIF(MAX(s.n_units), 0)
        AS dead_share,  -- Share of units that fired in no sample of the window, on no rank.
    CAST(MAX(s.n_saturated) AS DOUBLE) / NULLIF(MAX(s.n_units), 0)
        AS saturated_share,  -- Share of units whose mean derivative is below 0.05.
    CAST(SUM(s.n_saturated_entries) AS DOUBLE) / SUM(s.n)
        AS saturated_entry_share,  -- Share of entries whose derivative is below 0.06.
    MAX(s.entropy) AS entropy,
    MAX(s.peaked_share) AS peaked_share,
    CAST(SUM(s.n_nan + s.n_inf) AS BIGINT) AS nonfinite  -- NaN and infinite elements.
FROM module_numbers AS s
JOIN modules AS m
    ON m.project = s.project
    AND m.run = s.run
    AND m.module_id = s.module_id
LEFT JOIN dead_points AS d
    ON d.project = s.project
    AND d.run = s.run
    AND d.step = s.step
    AND d.module_id = s.module_id
    AND d.site = s.site
    AND d.phase = s.phase
WHERE s.n > 0
GROUP BY s.project, s.run, s.step, m.path, m.type, m.depth, s.site, s.phase, s.module_id
