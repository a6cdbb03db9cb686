"""Rules about what the model answers."""
