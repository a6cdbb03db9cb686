-- One row per (step, parameter): norms of gradient, weight and update side by side.
SELECT
    p.project,
    p.run,
    p.step,
    t.module AS layer,  -- Path of the module that owns the parameter.
    t.name AS parameter,  -- Full parameter name.
    p.param_id,
    t.module_type,
    t.depth,
    t.lr_group,
    t.n,
    p.n_sampled,
    p.provenance,
    p.grad_norm,  -- L2 norm of the gradient before clipping and without loss scale.
    p.grad_norm_seen,  -- L2 norm of the gradient as the optimizer saw it.
    p.weight_norm,  -- L2 norm of the weight before the step.
    p.update_norm,  -- L2 norm of weight after minus before the step.
    CASE
        WHEN p.weight_norm >= 0
            THEN p.update_norm / NULLIF(
                GREATEST(
                    p.weight_norm,
                    0.1 * SQRT(CAST(t.n AS DOUBLE) / COALESCE(NULLIF(t.fan_in, 0), 1))
                ),
                0
            )
    END AS update_ratio,  -- update_norm / max(weight_norm, 0.1 sqrt(n / fan_in)).
    p.grad_absmax,  -- Largest sampled gradient magnitude, before clipping and without loss scale.
    p.grad_mean,  -- Mean of the sampled gradient, before clipping and without loss scale.
    p.weight_std,  -- Standard deviation of the weight.
    p.grad_zero_share,  -- Share of sampled gradient elements that are exactly zero.
    p.update_zero_share,  -- Share of sampled elements that the step left as they were.
    p.nonfinite  -- Largest count of NaN and infinite elements among gradient, weight and update.
FROM (
    SELECT
        project,
        run,
        step,
        param_id,
        MAX(n_sampled) AS n_sampled,
        MAX(provenance) AS provenance,
        SQRT(MAX(CASE WHEN kind = 'gradient' AND scale > 0 THEN sumsq / (scale * scale) END))
            AS grad_norm,
        SQRT(MAX(CASE WHEN kind = 'gradient' THEN sumsq END)) AS grad_norm_seen,
        SQRT(MAX(CASE WHEN kind = 'weight' THEN sumsq END)) AS weight_norm,
        SQRT(MAX(CASE WHEN kind = 'update' AND n_sampled > 0 THEN sumsq * n / n_sampled END))
            AS update_norm,
        MAX(CASE WHEN kind = 'gradient' AND scale > 0 THEN absmax / scale END) AS grad_absmax,
        MAX(
            CASE
                WHEN kind = 'gradient' AND n_sampled > 0 AND scale > 0
                    THEN sum / n_sampled / scale
            END
        ) AS grad_mean,
        MAX(
            CASE
                WHEN kind = 'weight' AND n_sampled > 0 AND sumsq IS NOT NULL
                    THEN SQRT(
                        GREATEST(sumsq / n - (sum / n_sampled) * (sum / n_sampled), 0)
                    )
            END
        ) AS weight_std,
        MAX(
            CASE
                WHEN kind = 'gradient' AND n_sampled > 0
                    THEN CAST(n_zero AS DOUBLE) / n_sampled
            END
        ) AS grad_zero_share,
        MAX(
            CASE
                WHEN kind = 'update' AND n_sampled > 0
                    THEN CAST(n_zero AS DOUBLE) / n_sampled
            END
        ) AS update_zero_share,
        MAX(n_nan + n_inf) AS nonfinite
    FROM tensor_points
    GROUP BY project, run, step, param_id
) AS p
JOIN tensors AS t
    ON t.project = p.project
    AND t.run = p.run
    AND t.tensor_id = p.param_id
