-- Histograms of gradients and weights, ranks merged: elements per octave.
SELECT
    h.project,
    h.run,
    h.step,
    t.module AS layer,  -- Path of the module that owns the parameter.
    t.name AS parameter,  -- Full parameter name.
    h.kind,
    h.sgn AS sign,  -- -1 or 1; zeros are in tensor_stats.n_zero.
    h.exponent,
    h.sgn * POWER(2.0, h.exponent) AS edge,  -- Edge of the octave that is nearest to zero.
    SUM(h.cnt) AS count  -- Elements, within 4.5 % from 100 on.
FROM hist_counts AS h
JOIN tensors AS t
    ON t.project = h.project
    AND t.run = h.run
    AND t.tensor_id = h.tensor_id
WHERE h.cnt > 0
GROUP BY h.project, h.run, h.step, t.module, t.name, h.kind, h.sgn, h.exponent
