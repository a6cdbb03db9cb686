"""The full screen of `telemetry watch`: what each panel draws, and the keys."""
