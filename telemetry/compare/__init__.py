"""Judges two runs or more."""
