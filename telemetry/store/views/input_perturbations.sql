-- Answers to examples changed along one axis, a row for each value; history, never hidden by a later attempt.
SELECT
    i.project,
    i.run,
    i.*  -- columns of input_perturbations
FROM raw_input_perturbations AS i
