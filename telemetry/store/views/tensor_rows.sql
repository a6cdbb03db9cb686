-- Rows of tensor_stats, one per rank, without those that a later attempt repeated.
SELECT
    s.project,
    s.run,
    s.rank,
    s.step,
    s.tensor_id,
    s.param_id,
    s.kind,
    s.provenance,
    s.attempt,
    s.n,
    s.n_sampled,
    s.sum,
    s.sumsq,
    s.min,
    s.max,
    s.absmax,
    s.n_zero,
    s.n_nan,
    s.n_inf,
    s.hist_exp,
    s.hist,
    s.scale,
    s.cos_prev,
    s.dot_grad,
    s.decay_ratio,
    s.lost_mass,
    s.rms_ratio,
    s.n_stuck,
    s.n_below_eps,
    s.rows_equal,
    s.previous_norm,
    s.decay_norm,
    s.rest_norm,
    s.intended_norm,
    s.row_hash
FROM raw_tensor_stats AS s
JOIN attempts_live AS a
    ON a.project = s.project
    AND a.run = s.run
    AND a.attempt = s.attempt
WHERE a.superseded_from IS NULL
    OR s.step < a.superseded_from
