"""Hypotheses run: the data set that each one asks for goes through the model."""
