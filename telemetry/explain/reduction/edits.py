"""A difference of two inputs in words."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One difference in words: what it is in the wrong and in the right input."""

    name: str
    before: str | float | None
    after: str | float | None
