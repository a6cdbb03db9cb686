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
    SQRT(SUM(s.sumsq) / SUM(s.n)) / MAX(
        CASE WHEN s.site IN ('output_grad', 'input_grad') THEN COALESCE(w.n_ranks, 1) ELSE 1 END
    ) AS rms,  -- Root mean square of the elements; all a gradient has: of the mean loss of all ranks.
    MAX(s.absmax) AS absmax,
    CAST(SUM(s.n_zero) AS DOUBLE) / SUM(s.n) AS zero_share,  -- Share of elements that are zero.
    MAX(s.n_units) AS n_units,
    CAST(MIN(d.n_dead) AS DOUBLE) / NULLIF(MAX(s.n_units), 0)
        AS dead_share,  -- Share of units that fired in no sample of the window, on no rank.
    CAST(MAX(s.n_saturated) AS DOUBLE) / NULLIF(MAX(s.n_units), 0)
        AS saturated_share,  -- Share of units whose mean derivative is below 0.05.
    CAST(SUM(s.n_saturated_entries) AS DOUBLE) / SUM(s.n)
        AS saturated_entry_share,  -- Share of entries whose derivative is below 0.06.
    SUM(s.entropy * s.n) / SUM(CASE WHEN s.entropy IS NOT NULL THEN s.n END) AS entropy,
    SUM(s.peaked_share * s.n) / SUM(CASE WHEN s.peaked_share IS NOT NULL THEN s.n END)
        AS peaked_share,
    CAST(SUM(s.n_nan + s.n_inf) AS BIGINT) AS nonfinite  -- NaN and infinite elements.
FROM module_numbers AS s
JOIN modules AS m
    ON m.project = s.project
    AND m.run = s.run
    AND m.module_id = s.module_id
LEFT JOIN (
    SELECT
        f.project,
        f.run,
        f.attempt,
        COUNT(DISTINCT f.rank) AS n_ranks
    FROM files AS f
    WHERE f.table_name = 'module_stats'
    GROUP BY f.project, f.run, f.attempt
) AS w
    ON w.project = s.project
    AND w.run = s.run
    AND w.attempt = s.attempt
LEFT JOIN dead_points AS d
    ON d.project = s.project
    AND d.run = s.run
    AND d.step = s.step
    AND d.module_id = s.module_id
    AND d.site = s.site
    AND d.phase = s.phase
WHERE s.n > 0
GROUP BY s.project, s.run, s.step, m.path, m.type, m.depth, s.site, s.phase, s.module_id
