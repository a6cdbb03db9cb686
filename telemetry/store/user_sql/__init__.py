"""Statements that a user typed: what they may read, and their rows."""
