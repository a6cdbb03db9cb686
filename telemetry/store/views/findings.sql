-- The newest stored diagnosis of each run, as long as the run has not changed since.
SELECT
    f.project,
    f.run,
    f.detector,
    f.severity,
    f.layer,
    f.layers,
    f.first_step,
    f.last_step,
    f.value,
    f.threshold,
    f.unit,
    f.message,
    f.advice,
    f.evidence,
    f.consequence_of,
    f.detector_version,
    f.options_hash,
    f.input_hash
FROM raw_findings AS f
JOIN finding_inputs AS i
    ON i.project = f.project
    AND i.run = f.run
    AND i.shard = f.shard
    AND i.input_hash = f.input_hash
WHERE f.detector <> ''
