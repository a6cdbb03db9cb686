"""What is shown of a run: its curves, layers, weights and parameters."""
