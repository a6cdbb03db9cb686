-- Catalogue of tensors: the newest row of each.
SELECT
    t.project,
    t.run,
    t.attempt,
    t.tensor_id,
    t.param_id,
    t.name,
    t.kind,
    t.module,
    t.module_id,
    t.module_type,
    t.depth,
    t.shape,
    t.dtype,
    t.n,
    t.fan_in,
    t.lr_group,
    t.trainable,
    t.shared_with,
    t.sharding
FROM (
    SELECT
        r.project,
        r.run,
        r.attempt,
        r.tensor_id,
        r.param_id,
        r.name,
        r.kind,
        r.module,
        r.module_id,
        r.module_type,
        r.depth,
        r.shape,
        r.dtype,
        r.n,
        r.fan_in,
        r.lr_group,
        r.trainable,
        r.shared_with,
        r.sharding,
        ROW_NUMBER() OVER (
            PARTITION BY r.project, r.run, r.tensor_id
            ORDER BY r.attempt DESC, r.shard DESC, r.shard_row DESC
        ) AS age
    FROM raw_tensors AS r
) AS t
WHERE t.age = 1
