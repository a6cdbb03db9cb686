"""Words of a text data set: what its tokens are called, and the tokens of other words."""

from collections.abc import Sequence

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.inputs.stated import stated

READS, WRITES = "tokens", "encode"
SHOWN = 6  # words of a message


def encoded(words: Sequence[str], examples: ExampleSet) -> Tensor:
    """The text that words make, as the model takes it.

    Raises:
        UsageError: the data set has no `encode`, or that fails or gives no row of tokens.
    """
    encode = stated(examples.source, WRITES)
    try:
        found = torch.as_tensor(encode(list(words)) if callable(encode) else None)
    except Exception as error:  # the user's code may raise anything
        raise UsageError(
            f"encode(words) of data set {examples.name} fails ({type(error).__name__}: {error})."
        ) from error
    if found.dim() != 1 or found.is_floating_point() or not len(found):
        raise UsageError(
            f"encode(words) of data set {examples.name} returns {found.dtype} of shape "
            f"{tuple(found.shape)}, expected one row of tokens."
        )
    return found.detach().cpu().to(examples.example(0).input.dtype)


class Vocabulary:
    """The words of a data set that has `tokens(x)` and `encode(words)`.

    Args:
        examples: The data set.
        what: Needs words, as the user said it.

    Raises:
        UsageError: the data set lacks one of the two.
    """

    def __init__(self, examples: ExampleSet, what: str) -> None:
        self._examples, self._what = examples, what
        lacking = [name for name in (READS, WRITES) if not callable(stated(examples.source, name))]
        if lacking:
            raise UsageError(
                f"{what} needs words: add {' and '.join(lacking)} to data set {examples.name}; "
                "tokens(x) returns the names of a text's tokens, encode(words) turns such names "
                "into a text."
            )

    def words(self, values: Tensor) -> list[str]:
        """The words of a text.

        Raises:
            UsageError: they do not make the same text again.
        """
        words = self._examples.tokens(values)
        if not torch.equal(self.encoded(words), values):
            raise UsageError(
                f"data set {self._examples.name}: encode(tokens(x)) is not x for "
                f"{' '.join(words[:SHOWN])!r} ..., so {self._what} would change more than "
                "intended."
            )
        return words

    def encoded(self, words: Sequence[str]) -> Tensor:
        """The text that words make; see `encoded`."""
        return encoded(words, self._examples)
