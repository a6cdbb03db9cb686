"""The questions of `telemetry explain`, one a file: `KIND` is all that both halves know of one."""
