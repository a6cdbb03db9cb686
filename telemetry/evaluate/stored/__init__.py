"""Evaluations and explanations as runs keep them."""
