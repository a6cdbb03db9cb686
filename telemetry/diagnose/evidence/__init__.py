"""What was recorded of a run, put into shapes that rules can read. Nothing here needs the context.

`context.py` is made of some of it, so this room is below the context, and `analyses/` above.
"""
