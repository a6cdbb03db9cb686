"""The server of `telemetry ui`: pages about the runs of a store, for a browser of this machine."""
