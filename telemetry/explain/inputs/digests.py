"""Digests of inputs as names of examples, and what can only be a place."""

import re

import torch
from torch import Tensor

from telemetry.capture.tensors.predictions import ID_CHARACTERS, input_digest

DIGEST = re.compile(rf"[0-9a-f]{{{ID_CHARACTERS}}}")
NO_SUCH_INPUT = (
    ", and no input with this digest: the inputs passed to `log_examples` were changed, for "
    "example by augmentation, or belong to another data set; pass ids= to it"
)


def is_digest(example_id: str) -> bool:
    """Whether it looks like the digest of an input."""
    return DIGEST.fullmatch(example_id) is not None


def is_place(example_id: str) -> bool:
    """Whether it can only be a place: a digest has more digits."""
    return example_id.isdigit() and len(example_id) < ID_CHARACTERS


def digests_of(values: Tensor) -> set[str]:
    """Of an input as it is, and as a model of 32 bits takes it, which is what a training logs."""
    is_other = values.is_floating_point() and values.dtype is not torch.float32
    return {input_digest(values), *([input_digest(values.float())] if is_other else [])}
