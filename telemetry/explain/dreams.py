"""Pictures made for a unit of a layer, held against noise, real examples and other units.

Source: Erhan et al. 2009, Visualizing higher-layer features of a deep network; Mordvintsev et al.
2015, DeepDream. The objective is in standard deviations over real examples, so that one weight of
smoothness fits every layer.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.ascent import Ascent, ascend, image_start, noise_start
from telemetry.explain.checks import Check
from telemetry.explain.dream_checks import (
    above_noise,
    above_real,
    mean_correlation,
    own_unit,
    seeds_agree,
)
from telemetry.explain.evaluation import Progress
from telemetry.explain.examples import IMAGE_DIMENSIONS, Example, ExampleSet, Modality
from telemetry.explain.identities import identity_of
from telemetry.explain.layers import FLAT, Layer, Unit, listening, spread_examples
from telemetry.explain.random_weights import with_random_weights
from telemetry.explain.subject import Subject
from telemetry.explain.unit_scale import UnitScale

NOISE_PICTURES = 256
SEEDS = 4  # a hidden unit has several modes
RIVALS = 8  # units whose pictures are shown to the unit, itself among them
TOP = 9
NOISE = "noise"
EPSILON = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How pictures are made and judged.

    Attributes:
        ascent: Steps, smoothness, jitter, octaves, seed.
        start: `noise`, or the id or place of an example.
        n_real: Real examples that they are set beside.
        batch: Inputs a forward, of what needs no gradient.
    """

    ascent: Ascent = field(default_factory=Ascent)
    start: str = NOISE
    n_real: int = 256
    batch: int = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dream:
    """The pictures of one unit, and what they are worth.

    Attributes:
        id: Equal for equal questions to equal weights.
        layer: Its name.
        unit: Which unit.
        pictures: From 0 to 1, the best first, shape (n_seeds, channels, height, width).
        from_real: Whether the best began as the best real example: noise gave it no slope.
        activations: Of the unit on each.
        noise_mean: Its mean activation on uniform noise.
        noise_sd: The standard deviation.
        real_max: Its largest activation on real examples.
        real_sd: The standard deviation over them.
        n_real: How many.
        top: Examples that excite it most, with their activations.
        best_unit: The unit whose picture excites it most.
        seed_correlation: Mean correlation of its pictures; None: one seed.
        random_picture: The same made for a network with random weights.
        random_z: How far above noise that comes, in its own standard deviations.
        checks: What the best picture was held against.
        forwards: Inputs that the model was run on, for all units together.
        seconds: How long all of them took.
        seed: Of what was drawn.
    """

    id: str
    layer: str
    unit: Unit
    pictures: Tensor
    from_real: bool
    activations: tuple[float, ...]
    noise_mean: float
    noise_sd: float
    real_max: float
    real_sd: float
    n_real: int
    top: tuple[tuple[Example, float], ...]
    best_unit: int
    seed_correlation: float | None
    random_picture: Tensor
    random_z: float
    checks: tuple[Check, ...]
    forwards: int
    seconds: float
    seed: int

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def is_dead(self) -> bool:
        """Whether the unit answers the same to every real example."""
        return self.real_sd <= EPSILON

    @property
    def z(self) -> float:
        """Standard deviations above noise of the best picture."""
        return above(self.activations[0], self.noise_mean, self.noise_sd)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Made:
    """Pictures, each with the unit that it was made for, and answers of all units to them."""

    owners: tuple[int, ...]  # places in the list of units
    pictures: Tensor
    real: Tensor
    noise: Tensor
    answers: Tensor
    from_real: tuple[bool, ...]  # made from the best real example, for noise has no slope


def dream(
    subject: Subject,
    layer: str,
    units: Sequence[str],
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> list[Dream]:
    """Make pictures for units of a layer.

    Args:
        subject: Model and examples, which are images.
        layer: A module, or `output` for the answers before softmax.
        units: `7`, or `7@3,4` for one place.
        settings: How.
        progress: Told of every step.

    Raises:
        UsageError: no such layer, unit or start, or the inputs are no images.
    """
    settings, started = settings or Settings(), time.perf_counter()
    examples = _images(subject)
    wanted = [Unit.of(text) for text in units]
    real = spread_examples(examples, settings.n_real)
    tick = _ticks(2 * settings.ascent.steps * settings.ascent.octaves, progress)
    with subject.running(gradient=True), listening(subject, layer) as heard:
        answers = heard.answers(real, settings.batch)
        for unit in wanted:
            heard.check(unit, answers)
        asked = _with_rivals(wanted, answers.shape[1])
        n_seeds = SEEDS if settings.start == NOISE else 1
        owners = [place for place in range(len(wanted)) for _ in range(n_seeds)]
        owners += range(len(wanted), len(asked))
        made = _made(heard, asked, owners, real, settings, tick)
    random = _random(subject, layer, wanted, real, settings, tick)
    forwards = heard.forwards + random[2]
    found = [_judged(made, asked, place, real, settings) for place in range(len(wanted))]
    return [
        replace(
            entry,
            id=_identity(subject, layer, entry.unit, settings),
            layer=layer,
            random_picture=random[0][place],
            random_z=random[1][place],
            forwards=forwards,
            seconds=time.perf_counter() - started,
        )
        for place, entry in enumerate(found)
    ]


def above(value: float, mean: float, deviation: float) -> float:
    """Standard deviations above a mean; infinite above one that does not vary."""
    if deviation > EPSILON:
        return (value - mean) / deviation
    return float("inf") if value > mean + EPSILON else 0.0


def _images(subject: Subject) -> ExampleSet:
    if subject.examples is None:
        raise UsageError("which examples? Name them by --dataset package.module:name.")
    first = subject.examples.example(0).input
    if subject.examples.modality is not Modality.IMAGE or first.dim() != IMAGE_DIMENSIONS:
        raise UsageError(
            f"inputs of shape {tuple(first.shape)} are no images, and only these can be dreamt; "
            "`telemetry explain features` names the examples that excite a unit."
        )
    return subject.examples


def _with_rivals(wanted: Sequence[Unit], n_units: int) -> list[Unit]:
    """The wanted units, filled up with others spread over the layer; at the place of the first."""
    taken = {unit.index for unit in wanted}
    others = [index for index in range(n_units) if index not in taken]
    n_more = max(0, min(RIVALS - len(wanted), len(others)))
    picks = [others[place * len(others) // n_more] for place in range(n_more)]
    return [*wanted, *(Unit(index=index, position=wanted[0].position) for index in picks)]


def _made(
    layer: Layer,
    units: Sequence[Unit],
    owners: Sequence[int],
    real: Sequence[Example],
    settings: Settings,
    tick: Callable[[], None],
) -> _Made:
    """Make a picture for each owner; call it inside `running(gradient=True)`."""
    examples = layer.subject.examples
    assert examples is not None  # noqa: S101 - _images has seen to it
    scale, first = UnitScale.of(examples), real[0].input
    answers = layer.answers(real, settings.batch)
    spread = torch.stack([unit.read(answers).std(correction=0) for unit in units])
    size = torch.where(spread > EPSILON, spread, torch.ones_like(spread))[list(owners)]

    def objective(pictures: Tensor) -> Tensor:
        heard = layer(scale.input(pictures, first.dtype))
        own = [units[owner].read(heard[i : i + 1])[0] for i, owner in enumerate(owners)]
        return torch.stack(own).float().cpu() / size

    seed, from_real = settings.ascent.seed, [False] * len(owners)
    if settings.start == NOISE:
        start = noise_start(len(owners), tuple(first.shape), seed)
        from_real = _without_slope(objective, start)
        for place in (place for place, is_flat in enumerate(from_real) if is_flat):
            best = int(units[owners[place]].read(answers).argmax())
            start[place] = image_start(scale.unit(real[best].input))
    else:
        image = scale.unit(examples.find(settings.start).input)
        start = image_start(image).expand(len(owners), *image.shape)
    with torch.enable_grad():
        pictures = ascend(objective, start, settings.ascent, tick)
    generator = torch.Generator().manual_seed(seed + 1)
    noise = torch.rand(NOISE_PICTURES, *first.shape, generator=generator)

    def seen(values: Tensor) -> Tensor:
        with torch.no_grad():
            parts = [
                layer(scale.input(part, first.dtype)).float().cpu()
                for part in torch.split(values, settings.batch)
            ]
        return torch.cat(parts)

    return _Made(
        owners=tuple(owners),
        pictures=pictures,
        real=answers,
        noise=seen(noise),
        answers=seen(pictures),
        from_real=tuple(from_real),
    )


def _without_slope(objective: Callable[[Tensor], Tensor], start: Tensor) -> list[bool]:
    """Where an ascent cannot begin: ReLUs that are off on the way to a unit pass no gradient."""
    with torch.enable_grad():
        leaf = start.clone().requires_grad_()
        (slope,) = torch.autograd.grad(objective(torch.sigmoid(leaf)).sum(), leaf)
    flat: list[bool] = (slope.flatten(1).abs().amax(1) == 0).tolist()
    return flat


def _judged(
    made: _Made, units: Sequence[Unit], place: int, real: Sequence[Example], settings: Settings
) -> Dream:
    """The pictures of one unit against noise, real examples and the pictures of other units."""
    unit = units[place]
    on_pictures, on_real, on_noise = map(unit.read, (made.answers, made.real, made.noise))
    owners = torch.tensor(made.owners)
    mine = (owners == place).nonzero()[:, 0]
    order = mine[on_pictures[mine].argsort(descending=True)]
    others = (owners != place).nonzero()[:, 0]
    best, real_sd = float(on_pictures[order[0]]), float(on_real.std(correction=0))
    noise_mean, noise_sd = float(on_noise.mean()), float(on_noise.std(correction=0))
    own = made.pictures[order]
    checks = [
        above_noise(above(best, noise_mean, noise_sd)),
        above_real(best, float(on_real.max())),
    ]
    best_unit, same = unit.index, None
    if len(others):
        rival = others[on_pictures[others].argmax()]
        lead = (float(on_pictures[rival]) - best) / (real_sd if real_sd > EPSILON else 1.0)
        rival_unit = units[int(owners[rival])].index
        best_unit = rival_unit if lead > 0 else unit.index
        checks.append(own_unit(lead, rival_unit))
    if len(own) > 1:
        same = mean_correlation(own, own)
        is_one_place = made.answers.dim() == FLAT or unit.position is not None
        if len(others) and is_one_place:  # a mean over places does not say where its pattern lies
            checks.append(seeds_agree(same, mean_correlation(own, made.pictures[others])))
    top = on_real.topk(min(TOP, len(on_real)))
    return Dream(
        id="",
        layer="",
        unit=unit,
        pictures=own,
        from_real=made.from_real[int(order[0])],
        activations=tuple(on_pictures[order].tolist()),
        noise_mean=noise_mean,
        noise_sd=noise_sd,
        real_max=float(on_real.max()),
        real_sd=real_sd,
        n_real=len(real),
        top=tuple(
            (real[index], value)
            for index, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ),
        best_unit=best_unit,
        seed_correlation=same,
        random_picture=own[0],
        random_z=0.0,
        checks=tuple(checks),
        forwards=0,
        seconds=0.0,
        seed=settings.ascent.seed,
    )


def _random(
    subject: Subject,
    layer: str,
    units: Sequence[Unit],
    real: Sequence[Example],
    settings: Settings,
    tick: Callable[[], None],
) -> tuple[Tensor, list[float], int]:
    """The same units of a network with random weights: pictures, z, and forwards."""
    other = replace(subject, model=with_random_weights(subject.model, settings.ascent.seed))
    with other.running(gradient=True), listening(other, layer) as heard:
        made = _made(heard, units, range(len(units)), real, settings, tick)
    z = []
    for place, unit in enumerate(units):
        noise = unit.read(made.noise)
        value = float(unit.read(made.answers)[place])
        z.append(above(value, float(noise.mean()), float(noise.std(correction=0))))
    return made.pictures, z, heard.forwards


def _identity(subject: Subject, layer: str, unit: Unit, settings: Settings) -> str:
    how = settings.ascent
    return identity_of(
        {
            "verb": "dream",
            "of": subject.identity,
            "dataset": subject.examples.name if subject.examples else "",
            "layer": layer,
            "unit": str(unit),
            "start": settings.start,
            "n_real": settings.n_real,
            "how": [how.steps, how.smooth, how.jitter, how.octaves, how.seed],
        }
    )


def _ticks(of: int, progress: Progress | None) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, of)

    return tick
