"""Recorded quantities of steps, one a file; found by looking into this folder."""
