-- One row per attempt, optimizer step and rank: of shards, else of the flight recorder.
SELECT
    s.project,
    s.run,
    s.rank,
    s.*  -- columns of steps
FROM raw_steps AS s
UNION ALL
SELECT
    f.project,
    f.run,
    f.rank,
    f.*  -- columns of steps
FROM flight_steps AS f
