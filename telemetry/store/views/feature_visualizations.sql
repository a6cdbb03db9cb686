-- What layers and their units hold: weights, dreams, top examples, evolution; history, never hidden by a later attempt.
SELECT
    v.project,
    v.run,
    v.*  -- columns of feature_visualizations
FROM raw_feature_visualizations AS v
