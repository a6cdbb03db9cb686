"""Rules about the weights a run starts with."""
