-- One example judged by one checkpoint under one hypothesis; history, never hidden by a later attempt.
SELECT
    e.project,
    e.run,
    e.*  -- columns of example_evals
FROM raw_example_evals AS e
