-- The least difference between a wrong and a right answer; history, never hidden by a later attempt.
SELECT
    i.project,
    i.run,
    i.*  -- columns of input_reductions
FROM raw_input_reductions AS i
