-- Catalogue of modules: the newest row of each.
SELECT
    t.project,
    t.run,
    t.*  -- columns of modules
FROM (
    SELECT
        r.project,
        r.run,
        r.*,  -- columns of modules
        ROW_NUMBER() OVER (
            PARTITION BY r.project, r.run, r.module_id
            ORDER BY r.attempt DESC, r.shard DESC, r.shard_row DESC
        ) AS age
    FROM raw_modules AS r
) AS t
WHERE t.age = 1
