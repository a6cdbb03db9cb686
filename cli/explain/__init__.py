"""The parts of `telemetry explain`."""
