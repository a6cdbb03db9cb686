"""What lies on the disk: names, run.json, tables, shards, the ring of the flight recorder."""
