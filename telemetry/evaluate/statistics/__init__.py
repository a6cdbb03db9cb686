"""Exact and paired tests on the same examples."""
