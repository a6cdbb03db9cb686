"""What modules put out, and what reaches the loss, on sampled steps."""
