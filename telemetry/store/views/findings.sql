-- The newest stored diagnosis of each run, as long as the run has not changed since.
SELECT
    f.project,
    f.run,
    f.*  -- columns of findings
FROM raw_findings AS f
JOIN finding_inputs AS i
    ON i.project = f.project
    AND i.run = f.run
    AND i.shard = f.shard
    AND i.input_hash = f.input_hash
WHERE f.detector <> ''
