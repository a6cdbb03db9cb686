"""The page of `telemetry report`: drawings that fit any width, and what stands beside them."""
