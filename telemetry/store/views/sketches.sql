-- Samples that went into the model, as sets of hashes; history, never hidden by a later attempt.
SELECT
    s.project,
    s.run,
    s.rank,
    s.*  -- columns of sketches
FROM raw_sketches AS s
