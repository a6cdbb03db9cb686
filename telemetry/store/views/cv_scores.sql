-- Score of one configuration on one fold; lies in the fold's run.
SELECT
    c.project,
    c.run,
    c.*  -- columns of cv_scores
FROM raw_cv_scores AS c
