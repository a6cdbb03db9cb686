"""The child process of `telemetry demo`."""
