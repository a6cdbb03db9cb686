-- Catalogue of tensors: the newest row of each.
SELECT
    t.project,
    t.run,
    t.*  -- columns of tensors
FROM (
    SELECT
        r.project,
        r.run,
        r.*,  -- columns of tensors
        ROW_NUMBER() OVER (
            PARTITION BY r.project, r.run, r.tensor_id
            ORDER BY r.attempt DESC, r.shard DESC, r.shard_row DESC
        ) AS age
    FROM raw_tensors AS r
) AS t
WHERE t.age = 1
