-- What happened; history, never hidden by a later attempt.
SELECT
    e.project,
    e.run,
    e.rank,
    e.step,
    e.attempt,
    e.wall_time,
    e.kind,
    e.severity,
    e.tensor_id,
    e.module_id,
    e.message,
    e.payload
FROM raw_events AS e
