-- A statement about a model that a data set can refute, as its file defined it.
SELECT
    h.project,
    h.run,
    h.*  -- columns of hypotheses
FROM raw_hypotheses AS h
