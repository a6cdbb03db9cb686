-- One hypothesis under two checkpoints; lies in the candidate's run.
SELECT
    r.project,
    r.run,
    r.*  -- columns of hypothesis_results
FROM raw_hypothesis_results AS r
