"""In what two texts differ: tokens that are removed, inserted or replaced, inside their padding."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.inputs.padding import Padding
from telemetry.explain.reduction.edits import Edit

Told = tuple[str, bool]  # a token, and whether it is changed


@dataclass(frozen=True, slots=True, kw_only=True)
class _TokenEdit:
    """Tokens [place, place + n_removed) of the wrong text become others; n_removed is 0 or 1."""

    place: int
    n_removed: int
    inserted: tuple[int, ...]
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenEdits:
    """What makes one text of another, token by token.

    Attributes:
        wrong: The row of tokens that becomes another.
        padding: Takes rows apart and fills them up again.
        words: Of the text in it.
        steps: In the order of the text.
    """

    wrong: Tensor
    padding: Padding
    words: tuple[str, ...]
    steps: tuple[_TokenEdit, ...]

    def __len__(self) -> int:
        return len(self.steps)

    def mixed(self, taken: Collection[int]) -> Tensor:
        """The wrong text after some edits."""
        row = self.padding.parted(self.wrong)
        tokens = list(row.core)
        chosen = [self.steps[item] for item in sorted(taken, reverse=True)]
        for step in chosen:  # from the end: earlier places stay what they are
            tokens[step.place : step.place + step.n_removed] = step.inserted
        return self.padding.filled(row, tokens, self.wrong)

    def edits(self, taken: Collection[int]) -> list[Edit]:
        """Each edit with its token before and after."""
        return [
            Edit(name=f"token {self._first + step.place}", before=step.before, after=step.after)
            for step in (self.steps[item] for item in sorted(taken))
        ]

    @property
    def _first(self) -> int:
        """Where in the row the text begins."""
        return next(iter(self.padding.places(self.wrong)), 0)

    def told(self, taken: Collection[int]) -> tuple[list[Told], list[Told]]:
        """The tokens of the wrong text and of the text after some edits; True: it is changed."""
        chosen = [self.steps[item] for item in sorted(taken)]
        removed = {step.place for step in chosen if step.n_removed}
        before = [(word, place in removed) for place, word in enumerate(self.words)]
        after: list[Told] = []
        for place in range(len(self.words) + 1):
            after += [(str(s.after), True) for s in chosen if s.place == place and s.inserted]
            if place < len(self.words) and place not in removed:
                after.append((self.words[place], False))
        return before, after


def token_edits(wrong: Tensor, right: Tensor, examples: ExampleSet) -> TokenEdits:
    """The edits that make the text of one row of tokens that of another."""
    padding = examples.padding
    old, new = padding.parted(wrong).core, padding.parted(right).core
    old_names, new_names = (
        [examples.tokens(row)[place] for place in padding.places(row)] for row in (wrong, right)
    )
    steps: list[_TokenEdit] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        for offset in range(max(i2 - i1, j2 - j1)):
            i, j = i1 + offset, j1 + offset
            removes, inserts = i < i2, j < j2
            steps.append(
                _TokenEdit(
                    place=min(i, i2),
                    n_removed=int(removes),
                    inserted=(new[j],) if inserts else (),
                    before=old_names[i] if removes else None,
                    after=new_names[j] if inserts else None,
                )
            )
    return TokenEdits(wrong=wrong, padding=padding, words=tuple(old_names), steps=tuple(steps))
