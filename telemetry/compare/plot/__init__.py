"""Curves of runs, laid over one another, as numbers and as files."""
