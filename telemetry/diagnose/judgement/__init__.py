"""Whether a run learns, and from when on a condition counts."""
