"""Rules about numbers that are not finite or too coarse."""
