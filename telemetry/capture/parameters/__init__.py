"""Weights, gradients and updates on sampled steps."""
