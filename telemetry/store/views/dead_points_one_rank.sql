-- dead_points where each run has one rank: the same rows without reading a bitmap.
SELECT
    s.project,
    s.run,
    s.step,
    s.module_id,
    s.site,
    s.phase,
    s.n_units,
    s.n_dead,
    s.window_samples
FROM module_numbers AS s
WHERE s.n_dead IS NOT NULL
