"""Rules about the course of the loss and of evaluations."""
