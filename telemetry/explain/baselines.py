"""What an input is compared with: the reference decides what an attribution says."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from telemetry.errors import UsageError
from telemetry.explain.examples import Example, ExampleSet, Modality

BLUR_SHARE = 7 / 24  # of the shorter side: a box of 7 px at 24 px
SEED = 20260103
DEFAULTS = {  # of integrated gradients and deletion; several: the mean over them is shown
    Modality.IMAGE: ("blur", "zero"),
    Modality.TABULAR: ("class-sample:16",),
    Modality.TEXT: ("mask",),
}
IMAGE_DIMENSIONS = 3

_SAMPLE = re.compile(r"(train|class)-sample:(\d{1,4})")


def baselines_of(
    name: str, example: Example, examples: ExampleSet, right: Sequence[Example]
) -> list[Tensor]:
    """The references that a name means; an attribution is the mean over them.

    Args:
        name: `zero`, `mean`, `median`, `blur`, `mask`, `train-sample:N` or `class-sample:N`.
        example: What is explained.
        examples: Its data set.
        right: Examples that the model answers rightly, the explained one not among them.

    Raises:
        UsageError: an unknown name, or one that does not fit the input.
    """
    sample = _SAMPLE.fullmatch(name)
    if sample is not None:
        return _sampled(sample[1] == "class", int(sample[2]), example, right)
    simple = {
        "zero": lambda: _zero(example, examples),
        "mean": lambda: _over(right, "mean"),
        "median": lambda: _over(right, "median"),
        "blur": lambda: blurred(example.input),
        "mask": lambda: _masked(example, examples),
    }
    if name not in simple:
        known = ", ".join((*simple, "train-sample:16", "class-sample:16"))
        raise UsageError(f"--baseline {name}: say {known}.")
    return [simple[name]()]


def blurred(values: Tensor) -> Tensor:
    """An image smoothed by a box of 7/24 of its shorter side.

    Raises:
        UsageError: no image.
    """
    if values.dim() != IMAGE_DIMENSIONS:
        raise UsageError(f"--baseline blur: an input of shape {tuple(values.shape)} is no image.")
    size = max(3, round(BLUR_SHARE * min(values.shape[1:])) | 1)
    padded = functional.pad(values[None], [size // 2] * 4, mode="replicate")
    return functional.avg_pool2d(padded, size, stride=1)[0]


def _zero(example: Example, examples: ExampleSet) -> Tensor:
    """Zero before normalisation, where the data set says how it normalises."""
    zero = torch.zeros_like(example.input)
    mean, deviation = examples.normalisation
    return zero if mean is None or deviation is None else (zero - mean) / deviation


def _masked(example: Example, examples: ExampleSet) -> Tensor:
    token = examples.mask_id if examples.mask_id is not None else examples.pad_id
    if token is None:
        raise UsageError(
            "--baseline mask: the data set names neither mask_id nor pad_id; give it one."
        )
    return torch.full_like(example.input, token)


def _over(right: Sequence[Example], what: str) -> Tensor:
    if not right:
        raise UsageError(f"--baseline {what}: the model answers no other example rightly.")
    stacked = torch.stack([example.input for example in right])
    return stacked.median(0).values if what == "median" else stacked.mean(0)


def _sampled(
    same_class: bool,  # noqa: FBT001 - from the name of the baseline
    count: int,
    example: Example,
    right: Sequence[Example],
) -> list[Tensor]:
    fitting = [e for e in right if e.input.shape == example.input.shape]
    if same_class:
        fitting = [e for e in fitting if e.label == example.label]
    if not fitting or count < 1:
        of = f" of class {example.label}" if same_class else ""
        raise UsageError(f"no other example{of} is answered rightly; choose another --baseline.")
    generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(len(fitting), generator=generator)[:count]
    return [fitting[int(place)].input for place in order]
