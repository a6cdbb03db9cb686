"""Curves of metrics on common ground."""
