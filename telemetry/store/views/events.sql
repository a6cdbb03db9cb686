-- What happened; history, never hidden by a later attempt.
SELECT
    e.project,
    e.run,
    e.rank,
    e.*  -- columns of events
FROM raw_events AS e
