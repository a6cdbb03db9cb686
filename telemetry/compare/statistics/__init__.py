"""Estimates with their uncertainty, and what they allow to claim."""
