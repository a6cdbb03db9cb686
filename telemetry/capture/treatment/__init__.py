"""Treats a training: attaches remedies, ends it after some steps, and reports what they did."""
