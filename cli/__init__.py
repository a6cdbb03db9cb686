"""Command line, installed as `telemetry.cli`."""
