-- Rows of module_stats, one per rank, without those that a later attempt repeated.
SELECT
    s.project,
    s.run,
    s.rank,
    s.step,
    s.attempt,
    s.module_id,
    s.site,
    s.phase,
    s.training,
    s.dtype,
    s.loss_op,
    s.n,
    s.sum,
    s.sumsq,
    s.min,
    s.max,
    s.absmax,
    s.n_zero,
    s.n_nan,
    s.n_inf,
    s.n_units,
    s.n_touched,
    s.n_dead,
    s.n_saturated,
    s.n_saturated_entries,
    s.window_samples,
    s.dead,
    s.hist_exp,
    s.hist,
    s.effective_rank,
    s.pair_cosine,
    s.unit_spread,
    s.entropy,
    s.peaked_share,
    s.log_partition,
    s.row_sum_error,
    s.target_corr,
    s.bn_updates,
    s.n_profile,
    s.profile
FROM raw_module_stats AS s
JOIN attempts_live AS a
    ON a.project = s.project
    AND a.run = s.run
    AND a.attempt = s.attempt
WHERE a.superseded_from IS NULL
    OR s.step < a.superseded_from
