-- What each part of one input contributes to one score; history, never hidden by a later attempt.
SELECT
    a.project,
    a.run,
    a.*  -- columns of attributions
FROM raw_attributions AS a
