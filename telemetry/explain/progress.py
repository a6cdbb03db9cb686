"""How far a long answer has come."""

from collections.abc import Callable

Progress = Callable[[int, int], None]  # done, of how many: forwards, examples or folds
