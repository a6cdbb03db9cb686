"""Runs a recorded training again, with one change, and says whether the change helps."""
