-- module_rows without bitmap, histogram and profile: what many statements can read at little cost.
SELECT
    r.project,
    r.run,
    r.rank,
    r.*  -- columns of module_stats without blobs
FROM module_rows AS r
