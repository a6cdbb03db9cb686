-- Score of one configuration on one fold; lies in the fold's run.
SELECT
    c.project,
    c.run,
    c.cv_id,
    c.config_id,
    c.params,
    c.repeat,
    c.fold,
    c.seed,
    c.fold_digest,
    c.n_train,
    c.n_test,
    c.metric,
    c.value,
    c.status,
    c.written_at,
    c.is_holdout,
    c.inner_fold,
    c.inner_folds
FROM raw_cv_scores AS c
