-- A statement about a model that a data set can refute, as its file defined it.
SELECT
    h.project,
    h.run,
    h.name,
    h.statement,
    h.kind,
    h.base_dataset,
    h.definition,
    h.digest,
    h.expected_metric,
    h.expected_op,
    h.expected_value,
    h.min_size,
    h.owner,
    h.written_at
FROM raw_hypotheses AS h
