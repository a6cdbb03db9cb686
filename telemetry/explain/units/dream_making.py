"""Makes the pictures of units, and shows them and what they are set beside to the layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example
from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.models.layers import Layer, Unit
from telemetry.explain.units.ascent import Objective, ascend, image_start, noise_start
from telemetry.requests.explain.dream import DreamSettings

NOISE_PICTURES = 256
RIVALS = 8  # units whose pictures are shown to the unit, itself among them
EPSILON = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """Pictures, each with the unit that it was made for, and answers of all units to them."""

    owners: tuple[int, ...]  # places in the list of units
    pictures: Tensor
    real: Tensor
    noise: Tensor
    answers: Tensor
    from_real: tuple[bool, ...]  # made from the best real example, for noise has no slope


def with_rivals(wanted: Sequence[Unit], n_units: int) -> list[Unit]:
    """The wanted units, filled up with others spread over the layer; at the place of the first."""
    taken = {unit.index for unit in wanted}
    others = [index for index in range(n_units) if index not in taken]
    n_more = max(0, min(RIVALS - len(wanted), len(others)))
    picks = [others[place * len(others) // n_more] for place in range(n_more)]
    return [*wanted, *(Unit(index=index, position=wanted[0].position) for index in picks)]


def n_ticks(n_pictures: int, settings: DreamSettings) -> int:
    """How often `make` tells of its progress."""
    n_chunks = -(-n_pictures // settings.batch)
    return n_chunks * settings.steps * settings.octaves


def make(
    layer: Layer,
    units: Sequence[Unit],
    owners: Sequence[int],
    real: Sequence[Example],
    image: Tensor | None,
    settings: DreamSettings,
    tick: Callable[[], None],
) -> Made:
    """Make pictures; call it inside `running(gradient=True)`.

    Args:
        layer: The layer of the units.
        units: Units of which some or all get pictures.
        owners: For each picture the place of its unit.
        real: Real examples, all of one shape.
        image: What the pictures begin as, from 0 to 1; None: noise.
        settings: How.
        tick: Told of every step.

    Raises:
        UsageError: the layer passes no gradient to its inputs.
    """
    examples = layer.subject.examples
    assert examples is not None  # noqa: S101 - `dream` has seen to it
    scale, first = UnitScale.of(examples), real[0].input
    answers = layer.answers(real, settings.batch)
    pictures, from_real = [], []
    noise = noise_start(len(owners), tuple(first.shape), settings.seed)
    for begin in range(0, len(owners), settings.batch):
        part = [units[owner] for owner in owners[begin : begin + settings.batch]]
        objective = _objective(layer, part, answers, scale, first.dtype)
        start = noise[begin : begin + len(part)]
        is_flat = [False] * len(part)
        if image is None:
            is_flat = without_slope(objective, start)
            for place in (place for place, flat in enumerate(is_flat) if flat):
                best = int(part[place].read(answers).argmax())
                start[place] = image_start(scale.unit(real[best].input))
        else:
            start = image_start(image).expand_as(start)
        with torch.enable_grad():
            pictures.append(ascend(objective, start, settings, tick))
        from_real += is_flat
    generator = torch.Generator().manual_seed(settings.seed + 1)
    grey = torch.rand(NOISE_PICTURES, *first.shape, generator=generator)
    joined = torch.cat(pictures)
    return Made(
        owners=tuple(owners),
        pictures=joined,
        real=answers,
        noise=_heard(layer, grey, scale, first.dtype, settings.batch),
        answers=_heard(layer, joined, scale, first.dtype, settings.batch),
        from_real=tuple(from_real),
    )


def _heard(
    layer: Layer, pictures: Tensor, scale: UnitScale, dtype: torch.dtype, batch: int
) -> Tensor:
    """Answers of all units to pictures from 0 to 1, on the host."""
    with torch.no_grad():
        parts = torch.split(pictures, batch)
        return torch.cat([layer(scale.input(part, dtype)).float().cpu() for part in parts])


def _objective(
    layer: Layer, owners: Sequence[Unit], answers: Tensor, scale: UnitScale, dtype: torch.dtype
) -> Objective:
    """Answers of each picture's unit to it, in standard deviations over real examples."""
    spread = torch.stack([unit.read(answers).std(correction=0) for unit in owners])
    size = torch.where(spread > EPSILON, spread, torch.ones_like(spread))

    def objective(pictures: Tensor) -> Tensor:
        heard = layer(scale.input(pictures, dtype))
        if not heard.requires_grad:
            raise UsageError(f"layer {layer.name} passes no gradient back to its inputs.")
        own = [unit.read(heard[place : place + 1])[0] for place, unit in enumerate(owners)]
        return torch.stack(own).float().cpu() / size

    return objective


def without_slope(objective: Objective, start: Tensor) -> list[bool]:
    """Where an ascent cannot begin: ReLUs that are off on the way to a unit pass no gradient."""
    with torch.enable_grad():
        leaf = start.clone().requires_grad_()
        (slope,) = torch.autograd.grad(objective(torch.sigmoid(leaf)).sum(), leaf)
    flat: list[bool] = (slope.flatten(1).abs().amax(1) == 0).tolist()
    return flat
