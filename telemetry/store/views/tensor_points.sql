-- One row per (step, tensor): ranks merged, no histogram.
SELECT
    r.project,
    r.run,
    r.step,
    r.tensor_id,
    r.param_id,
    r.kind,
    r.provenance,
    MAX(r.scale) AS scale,
    CAST(ROUND(SUM(r.n * r.share)) AS BIGINT) AS n,
    CAST(ROUND(SUM(r.n_sampled * r.share)) AS BIGINT) AS n_sampled,
    SUM(r.sum * r.weight) AS sum,
    SUM(r.sumsq * CASE WHEN r.kind IN ('weight', 'gradient') THEN r.share ELSE r.weight END)
        AS sumsq,
    MIN(r.min) AS min,
    MAX(r.max) AS max,
    MAX(r.absmax) AS absmax,
    CAST(ROUND(SUM(r.n_zero * r.weight)) AS BIGINT) AS n_zero,
    CAST(ROUND(SUM(r.n_nan * r.share)) AS BIGINT) AS n_nan,
    CAST(ROUND(SUM(r.n_inf * r.share)) AS BIGINT) AS n_inf,
    CAST(
        CASE
            WHEN COUNT(*) = 1 THEN MAX(r.cos_prev)
            ELSE SUM(r.weight * r.cos_prev * r.norm * r.norm_before) / NULLIF(
                SQRT(
                    SUM(r.weight * r.norm * r.norm)
                    * SUM(r.weight * r.norm_before * r.norm_before)
                ),
                0
            )
        END
        AS REAL
    ) AS cos_prev,
    SUM(r.dot_grad * r.weight) AS dot_grad,
    CAST(
        CASE
            WHEN COUNT(*) = 1 THEN MAX(r.decay_ratio)
            ELSE COALESCE(
                SQRT(
                    SUM(r.weight * r.decay_norm * r.decay_norm)
                    / NULLIF(SUM(r.weight * r.rest_norm * r.rest_norm), 0)
                ),
                SQRT(
                    SUM(r.share * r.n * r.decay_ratio * r.decay_ratio)
                    / SUM(CASE WHEN r.decay_ratio IS NOT NULL THEN r.share * r.n END)
                )
            )
        END
        AS REAL
    ) AS decay_ratio,
    CAST(
        CASE
            WHEN COUNT(*) = 1 THEN MAX(r.lost_mass)
            ELSE COALESCE(
                SUM(r.weight * r.lost_mass * r.intended_norm * r.intended_norm)
                / NULLIF(SUM(r.weight * r.intended_norm * r.intended_norm), 0),
                SUM(r.share * r.n * r.lost_mass)
                / SUM(CASE WHEN r.lost_mass IS NOT NULL THEN r.share * r.n END)
            )
        END
        AS REAL
    ) AS lost_mass,
    CAST(
        CASE
            WHEN COUNT(*) = 1 THEN MAX(r.rms_ratio)
            ELSE SQRT(
                SUM(r.weight * r.n_sampled * r.rms_ratio * r.rms_ratio)
                / SUM(CASE WHEN r.rms_ratio IS NOT NULL THEN r.weight * r.n_sampled END)
            )
        END
        AS REAL
    ) AS rms_ratio,
    CAST(ROUND(SUM(r.n_stuck * r.weight)) AS BIGINT) AS n_stuck,
    CAST(ROUND(SUM(r.n_below_eps * r.weight)) AS BIGINT) AS n_below_eps,
    MIN(CASE WHEN r.rows_equal THEN 1 WHEN NOT r.rows_equal THEN 0 END) = 1
    AND COALESCE(MIN(r.row_hash) = MAX(r.row_hash), TRUE) AS rows_equal,
    r.*,  -- merged columns of tensor_stats
    CAST(MAX(r.n_ranks) AS BIGINT) AS n_ranks  -- Ranks that wrote the tensor.
FROM (
    SELECT
        p.project,
        p.run,
        p.step,
        p.attempt,
        p.tensor_id,
        p.param_id,
        p.kind,
        p.provenance,
        p.scale,
        p.n,
        p.n_sampled,
        CAST(p.sum AS DOUBLE) AS sum,
        p.sumsq,
        p.min,
        p.max,
        p.absmax,
        p.n_zero,
        p.n_nan,
        p.n_inf,
        p.cos_prev,
        p.dot_grad,
        CAST(p.decay_ratio AS DOUBLE) AS decay_ratio,
        p.lost_mass,
        CAST(p.rms_ratio AS DOUBLE) AS rms_ratio,
        p.n_stuck,
        p.n_below_eps,
        p.rows_equal,
        CAST(p.decay_norm AS DOUBLE) AS decay_norm,
        CAST(p.rest_norm AS DOUBLE) AS rest_norm,
        CAST(p.intended_norm AS DOUBLE) AS intended_norm,
        p.row_hash,
        p.*,  -- mergeable columns of tensor_stats
        p.share,
        p.weight,
        p.n_ranks,
        -- Of the sampled elements, as the cosine is.
        SQRT(
            p.sumsq * CASE
                WHEN p.kind = 'gradient' THEN p.n_sampled / NULLIF(CAST(p.n AS DOUBLE), 0)
                ELSE 1.0
            END
        ) AS norm,
        -- Shards of older versions are taken to be as long as they were.
        COALESCE(
            CAST(p.previous_norm AS DOUBLE),
            SQRT(
                p.sumsq * CASE
                    WHEN p.kind = 'gradient' THEN p.n_sampled / NULLIF(CAST(p.n AS DOUBLE), 0)
                    ELSE 1.0
                END
            )
        ) AS norm_before
    FROM tensor_parts AS p
) AS r
GROUP BY r.project, r.run, r.step, r.attempt, r.tensor_id, r.param_id, r.kind, r.provenance
