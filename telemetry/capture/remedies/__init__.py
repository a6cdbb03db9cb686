"""One remedy a file: a change of a training that is made from outside; see `capture/remedy.py`."""
