"""Rules about optimizers, learning rates and what moves the weights."""
