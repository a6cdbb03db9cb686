"""Computations over the context of a run that rules share."""
