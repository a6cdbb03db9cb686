"""What one rule computes from the context of a run, where its own file would grow too long.

It needs the context, and `evidence/`, of which the context is made, must not: two rooms.
"""
