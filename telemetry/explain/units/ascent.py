"""Makes pictures that excite something: gradient ascent from noise or from an image.

A picture is x = sigmoid(u), so that it stays between 0 and 1 without clipping.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from telemetry.requests.explain.dream import DreamSettings

Objective = Callable[[Tensor], Tensor]  # pictures (n, channels, height, width) to (n,)

# 128 steps of 0.05 end on the way: a channel of a digit network whose best picture is dark grey
# was still at light grey, 1.7 standard deviations below what it reaches.
LEARNING_RATE = 0.1
START_DEVIATION = 0.1
OCTAVE = 1.4  # between the sides of one octave and the next
LEAST_SIDE = 4  # of the coarsest octave
EDGE = 0.02  # a start image is kept off 0 and 1, where sigmoid has no slope
JITTER_SHARE = 12  # of the side
SHIFTED_SHARE = 0.75  # of the steps: what is judged in the end is a picture at rest


def noise_start(n: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Starts near grey, as u, shape (n, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    return START_DEVIATION * torch.randn(n, *shape, generator=generator)


def image_start(unit: Tensor) -> Tensor:
    """The start that looks like an image of values from 0 to 1, as u."""
    return torch.logit(unit.clamp(EDGE, 1 - EDGE))


def ascend(
    objective: Objective,
    start: Tensor,
    how: DreamSettings,
    progress: Callable[[], None] | None = None,
) -> Tensor:
    """Pictures from 0 to 1 on which the objective is large, shape of the start.

    Each picture climbs alone: the objective of one must not depend on another. An octave is a
    change that is made on a coarser grid and enlarged, so the model always sees its own size.

    Args:
        objective: What is to be large, in standard deviations of real examples.
        start: As u, shape (n, channels, height, width).
        how: Steps, smoothness, jitter, octaves.
        progress: Called after every step.
    """
    generator = torch.Generator().manual_seed(how.seed)
    height, width = start.shape[-2:]
    most = max(1, round(min(height, width) / JITTER_SHARE)) if how.jitter is None else how.jitter
    picture = start.detach().float()
    for octave in reversed(range(how.octaves)):
        size = [max(LEAST_SIDE, round(side / OCTAVE**octave)) for side in (height, width)]
        size = [min(size[0], height), min(size[1], width)]
        change = torch.zeros(*start.shape[:2], *size, requires_grad=True)
        optimizer = torch.optim.Adam([change], lr=LEARNING_RATE)
        for step in range(how.steps):
            values = torch.sigmoid(picture + _enlarged(change, height, width))
            reach = round(most * max(0.0, 1 - step / (SHIFTED_SHARE * how.steps)))
            shift = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
            shown = values.roll(tuple(shift), dims=(-2, -1))
            gain = objective(shown) - how.smooth * variation(values)
            (change.grad,) = torch.autograd.grad(-gain.sum(), change)
            optimizer.step()
            if progress is not None:
                progress()
        picture = picture + _enlarged(change.detach(), height, width)
    return torch.sigmoid(picture)


def variation(pictures: Tensor) -> Tensor:
    """Mean absolute difference of neighbours of each picture, shape (n,)."""
    right = (pictures[..., 1:] - pictures[..., :-1]).abs().flatten(1).mean(1)
    below = (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().flatten(1).mean(1)
    return right + below


def _enlarged(change: Tensor, height: int, width: int) -> Tensor:
    if tuple(change.shape[-2:]) == (height, width):
        return change
    return functional.interpolate(
        change, size=(height, width), mode="bilinear", align_corners=False
    )
