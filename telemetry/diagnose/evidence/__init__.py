"""What was recorded of a run, as rules ask for it; needs no context."""
