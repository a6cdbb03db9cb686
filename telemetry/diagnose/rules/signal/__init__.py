"""Rules about activations and gradients on their way through the layers."""
