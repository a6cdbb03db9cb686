"""What of a row of tokens is text, and what was put around it to make it an input.

A row begins and ends with padding and with special tokens, as in `<cls> a text <sep> <pad> <pad>`.
Whoever changes the text changes what lies between them, and fills the row up again as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from telemetry.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextRow:
    """A row of tokens, taken apart.

    Attributes:
        before: Special tokens in front of the text.
        core: The text; special tokens inside it are part of it.
        after: Special tokens behind it.
    """

    before: tuple[int, ...]
    core: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """How the texts of a data set are filled up.

    Attributes:
        pad: The token that fills up; None: texts are as long as they are.
        special: Tokens that say nothing, such as the first and the last of every text.
        length: Of every row, where all have the same; else None.
        is_in_front: Whether padding stands before the text.
    """

    pad: int | None
    special: frozenset[int]
    length: int | None
    is_in_front: bool

    @classmethod
    def of(cls, rows: Sequence[Tensor], pad: int | None, special: frozenset[int]) -> Self:
        """The padding that some rows of tokens show."""
        lengths = {len(row) for row in rows}
        padded = [row for row in rows if len(row) and pad in {int(row[0]), int(row[-1])}]
        return cls(
            pad=pad,
            special=special,
            length=lengths.pop() if pad is not None and len(lengths) == 1 else None,
            is_in_front=bool(padded) and all(int(row[-1]) != pad for row in padded),
        )

    def is_text(self, row: Tensor) -> Tensor:
        """Which tokens somebody wrote, bool, of the row's shape."""
        others = sorted(self.special | ({self.pad} if self.pad is not None else set()))
        return ~torch.isin(row, torch.tensor(others, dtype=row.dtype))

    def places(self, row: Tensor) -> list[int]:
        """Where the text stands in a row: from its first word to its last, without padding."""
        written = self.is_text(row).nonzero().flatten().tolist()
        span = range(written[0], written[-1] + 1) if written else range(0)
        return [place for place in span if int(row[place]) != self.pad]

    def parted(self, row: Tensor) -> TextRow:
        """A row taken apart; its padding is left out."""
        places = self.places(row)
        start, end = (places[0], places[-1] + 1) if places else (len(row), len(row))
        before, after = row[:start].tolist(), row[end:].tolist()
        return TextRow(
            before=tuple(token for token in before if token != self.pad),
            core=tuple(row[places].tolist()),
            after=tuple(token for token in after if token != self.pad),
        )

    def filled(self, around: TextRow, core: Sequence[int], like: Tensor) -> Tensor:
        """A row of another text between the same special tokens, as long as it should be.

        A text that has become too long for rows of one length is cut at its end, as tokenizers do.

        Args:
            around: A row, taken apart.
            core: The text instead of its own.
            like: That row; its length is kept where it is padded.
        """
        length = self.length
        if length is None and self.pad is not None and bool((like == self.pad).any()):
            length = len(like)
        n_around = len(around.before) + len(around.after)
        kept = list(core) if length is None else list(core)[: max(0, length - n_around)]
        tokens = [*around.before, *kept, *around.after]
        if length is not None and self.pad is not None:
            lacking = [self.pad] * (length - len(tokens))
            tokens = [*lacking, *tokens] if self.is_in_front else [*tokens, *lacking]
        return torch.tensor(tokens, dtype=like.dtype)

    def without(self, row: Tensor, gone: Tensor) -> Tensor:
        """A row without some of its tokens, bool of its shape, filled up again."""
        left = self.parted(row[~gone])
        return self.filled(left, left.core, row)


def need_text(written: Tensor, place: str) -> None:
    """Refuse a row in which nobody wrote anything.

    Raises:
        UsageError: all its tokens are padding or special.
    """
    if not bool(written.any()):
        raise UsageError(f"{place} contains only padding and special tokens: there is no text.")
