-- What test examples have that training examples lack; history, never hidden by a later attempt.
SELECT
    c.project,
    c.run,
    c.*  -- columns of coverage
FROM raw_coverage AS c
