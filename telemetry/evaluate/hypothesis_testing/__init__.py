"""Statements about a model that a data set can refute."""
