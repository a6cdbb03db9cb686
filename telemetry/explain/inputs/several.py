"""Models of several inputs: their tensors as one, and one taken apart again.

Everything that changes inputs changes one tensor. Tensors of any shapes are joined to one row of
numbers. A text whose other tensors follow from its tokens, as the mask of a tokenizer does, stays
a row of tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.items import input_of

TOKENS = "input_ids"  # as tokenizers name them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InputPart:
    """One of several tensors.

    Attributes:
        name: Its key, or its place.
        shape: Without the batch dimension.
        dtype: As the data set gives it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeveralInputs:
    """How the tensors of an input become one.

    Attributes:
        parts: In the order in which they are joined.
        is_mapping: Whether the model takes them by name.
        tokens: Place of the tokens of a text, from which the others follow; None: no text.
        pad: Token that fills up texts.
    """

    parts: tuple[InputPart, ...]
    is_mapping: bool
    tokens: int | None = None
    pad: int | None = None

    @classmethod
    def of(cls, value: object, pad: int | None) -> Self | None:
        """What an input of a data set consists of; None: it is one tensor.

        Args:
            value: As the data set gives it.
            pad: Token that fills up texts.
        """
        if isinstance(value, Mapping):
            named = [(str(name), part) for name, part in value.items()]
        elif isinstance(value, tuple | list):
            named = [(str(place), part) for place, part in enumerate(value)]
        else:
            return None
        if not named or not all(isinstance(part, Tensor | np.ndarray) for _, part in named):
            return None
        tensors = [torch.as_tensor(cast("Tensor", part)) for _, part in named]
        parts = tuple(
            InputPart(name=name, shape=tuple(part.shape), dtype=part.dtype)
            for (name, _), part in zip(named, tensors, strict=True)
        )
        return cls(
            parts=parts, is_mapping=isinstance(value, Mapping), tokens=_tokens(parts), pad=pad
        )

    def joined(self, value: object, place: str) -> Tensor:
        """The tensors of an input as one.

        Args:
            value: As the data set gives it.
            place: What it is called in messages.

        Raises:
            UsageError: it has other parts than the first input, or its tensors do not follow from
                its tokens.
        """
        tensors = self._tensors(value, place)
        if self.tokens is not None:
            tokens = tensors[self.tokens]
            for part, found in zip(self.parts, tensors, strict=True):
                self._need_derived(part, found, tokens, place)
            return tokens
        for part, found in zip(self.parts, tensors, strict=True):
            if tuple(found.shape) != part.shape:
                raise UsageError(
                    f"{place}: {part.name} has shape {tuple(found.shape)}, and that of the first "
                    f"item {part.shape}; several inputs need the same shapes."
                )
        return torch.cat([found.flatten().to(torch.float32) for found in tensors])

    def parted(self, inputs: Tensor) -> list[Tensor]:
        """The tensors that a batch of shape (n, size) stands for, each of shape (n, ...)."""
        if self.tokens is not None:
            return [self._derived(part, inputs) for part in self.parts]
        sizes = [int(np.prod(part.shape)) for part in self.parts]
        return [
            values.reshape(len(inputs), *part.shape).to(part.dtype)
            for part, values in zip(self.parts, torch.split(inputs, sizes, dim=1), strict=True)
        ]

    def _tensors(self, value: object, place: str) -> list[Tensor]:
        names = [part.name for part in self.parts]
        if isinstance(value, Mapping):
            given = {str(name): part for name, part in value.items()}
        else:
            rows = value if isinstance(value, Sequence) else ()
            given = {str(number): part for number, part in enumerate(rows)}
        if sorted(given) != sorted(names):
            raise UsageError(
                f"{place} has the parts {', '.join(given) or 'none'}, and the first item has "
                f"{', '.join(names)}."
            )
        return [input_of(given[name], f"{place}: {name}") for name in names]

    def _derived(self, part: InputPart, tokens: Tensor) -> Tensor:
        """What follows from tokens: themselves, the mask of what is no padding, or zeros."""
        if part is self.parts[self.tokens or 0]:
            return tokens
        if "mask" in part.name:
            return torch.ones_like(tokens).masked_fill(self._is_pad(tokens), 0).to(part.dtype)
        return torch.zeros_like(tokens, dtype=part.dtype)

    def _is_pad(self, tokens: Tensor) -> Tensor:
        if self.pad is None:
            return torch.zeros_like(tokens, dtype=torch.bool)
        return tokens == self.pad

    def _need_derived(self, part: InputPart, found: Tensor, tokens: Tensor, place: str) -> None:
        """Refuse what does not follow from the tokens.

        Raises:
            UsageError: it does not.
        """
        if not torch.equal(found, self._derived(part, tokens)):
            wanted = "1 for each token but pad_id" if "mask" in part.name else "0 everywhere"
            raise UsageError(
                f"{place}: {part.name} does not follow from {self.parts[self.tokens or 0].name} "
                f"(expected {wanted}), so no text can be changed; pass one tensor, and use a "
                "--model that makes the others of it."
            )


def _tokens(parts: Sequence[InputPart]) -> int | None:
    """The place of the tokens where all parts are rows of whole numbers of one length."""
    shapes = {part.shape for part in parts}
    are_whole = all(not part.dtype.is_floating_point for part in parts)
    if len(shapes) != 1 or len(parts[0].shape) != 1 or not are_whole:
        return None
    names = [part.name for part in parts]
    return names.index(TOKENS) if TOKENS in names else None
