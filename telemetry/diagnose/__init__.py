"""Judges one run."""
