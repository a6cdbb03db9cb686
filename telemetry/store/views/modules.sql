-- Catalogue of modules: the newest row of each.
SELECT
    t.project,
    t.run,
    t.attempt,
    t.module_id,
    t.parent_id,
    t.path,
    t.type,
    t.depth,
    t.n_parameters,
    t.role,
    t.attributes
FROM (
    SELECT
        r.project,
        r.run,
        r.attempt,
        r.module_id,
        r.parent_id,
        r.path,
        r.type,
        r.depth,
        r.n_parameters,
        r.role,
        r.attributes,
        ROW_NUMBER() OVER (
            PARTITION BY r.project, r.run, r.module_id
            ORDER BY r.attempt DESC, r.shard DESC, r.shard_row DESC
        ) AS age
    FROM raw_modules AS r
) AS t
WHERE t.age = 1
