-- Samples that went into the model, as sets of hashes; history, never hidden by a later attempt.
SELECT
    s.project,
    s.run,
    s.rank,
    s.step,
    s.attempt,
    s.phase,
    s.n_seen,
    s.n_pairs,
    s.n_equal_pairs,
    s.distinct_values,
    s.hashes,
    s.times,
    s.forwards
FROM raw_sketches AS s
