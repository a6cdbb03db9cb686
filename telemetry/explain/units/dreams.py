"""Pictures made for a unit of a layer, held against noise, real examples and other units.

Source: Erhan et al. 2009, Visualizing higher-layer features of a deep network; Mordvintsev et al.
2015, DeepDream. The objective is in standard deviations over real examples, so that one weight of
smoothness fits every layer.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from telemetry.capture.tensors.predictions import input_digest
from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, Example, ExampleSet, Modality
from telemetry.explain.inputs.input_files import is_input_file, read_input
from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.models.layers import FLAT, Unit, listening, spread_examples
from telemetry.explain.models.origin import Origin
from telemetry.explain.models.random_weights import with_random_weights
from telemetry.explain.models.subject import Subject, examples_of
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import Check
from telemetry.explain.results.identities import identity_of
from telemetry.explain.results.result import Result
from telemetry.explain.units.dream_checks import (
    above_noise,
    above_real,
    mean_correlation,
    own_unit,
    seeds_agree,
)
from telemetry.explain.units.dream_making import (
    EPSILON,
    Made,
    make,
    n_ticks,
    with_rivals,
)
from telemetry.json_values import Json
from telemetry.requests.explain.dream import NOISE, DreamSettings

OF_ASCENT = ("steps", "smooth", "jitter", "octaves", "seed")
SEEDS = 4  # a hidden unit has several modes
TOP = 9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dream(Result):
    """The pictures of one unit, and what they are worth.

    Attributes:
        id: Equal for equal questions to equal weights.
        origin: Whose answer it is.
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
        best_unit: The unit whose picture excites it most, itself included.
        seed_correlation: Mean correlation of its pictures; None: one seed.
        random_picture: The same made for a network with random weights.
        random_z: How far above noise that comes, in its own standard deviations.
        checks: What the best picture was held against.
        forwards: Inputs that the model was run on, for all units together.
        seconds: How long all of them took.
        seed: Of what was drawn.
        params: Settings that they were made with.
    """

    KIND: ClassVar[str] = "dream"

    id: str
    origin: Origin
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
    params: Mapping[str, Json]

    @property
    def is_dead(self) -> bool:
        """Whether the unit answers the same to every real example."""
        return self.n_real > 1 and self.real_sd <= EPSILON

    @property
    def z(self) -> float:
        """Standard deviations above noise of the best picture."""
        return above(self.activations[0], self.noise_mean, self.noise_sd)


def dream(
    subject: Subject,
    layer: str,
    units: Sequence[str],
    settings: DreamSettings | None = None,
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
    settings, started = settings or DreamSettings(), time.perf_counter()
    examples = _images(subject)
    real = spread_examples(examples, settings.limit)
    image = _start(examples, settings.start)
    with subject.running(gradient=True), listening(subject, layer) as heard:
        n_units = heard.check([], real[0])
        classes = examples.classes if n_units == len(examples.classes) else ()
        wanted = [Unit.of(text, classes) for text in units]
        heard.check(wanted, real[0])
        asked = with_rivals(wanted, n_units)
        n_seeds = SEEDS if image is None else 1
        owners = [place for place in range(len(wanted)) for _ in range(n_seeds)]
        owners += range(len(wanted), len(asked))
        of = n_ticks(len(owners), settings) + n_ticks(len(wanted), settings)
        tick = _ticks(of, progress)
        made = make(heard, asked, owners, real, image, settings, tick)
    other = replace(subject, model=with_random_weights(subject.model, settings.seed))
    with other.running(gradient=True), listening(other, layer) as unlearnt:
        random = make(unlearnt, wanted, range(len(wanted)), real, image, settings, tick)
    digest = None if image is None else input_digest(image)
    return [
        replace(
            _judged(made, asked, place, real, subject.origin),
            id=_identity(subject, layer, unit, settings, digest),
            layer=layer,
            random_picture=random.pictures[place],
            random_z=_z(random, unit, place),
            forwards=heard.forwards + unlearnt.forwards,
            seconds=time.perf_counter() - started,
            seed=settings.seed,
            params=_params(settings),
        )
        for place, unit in enumerate(wanted)
    ]


def _params(settings: DreamSettings) -> dict[str, Json]:
    """What to ask, to ask the same again; of a file its name, for a run may go elsewhere."""
    start = settings.start
    return {
        **{name: getattr(settings, name) for name in OF_ASCENT},
        "start": Path(start).name if is_input_file(start) else start,
        "limit": settings.limit,
    }


def above(value: float, mean: float, deviation: float) -> float:
    """Standard deviations above a mean; infinite above one that does not vary."""
    if deviation > EPSILON:
        return (value - mean) / deviation
    return float("inf") if value > mean + EPSILON else 0.0


def _images(subject: Subject) -> ExampleSet:
    examples = examples_of(subject)
    first = examples.example(0).input
    if not first.is_floating_point() and examples.modality is Modality.IMAGE:
        raise UsageError(
            f"images of whole numbers ({first.dtype}) have no gradient, which is needed to make "
            "pictures; make the data set return fractions, and the model accept them."
        )
    if examples.modality is not Modality.IMAGE or first.dim() != IMAGE_DIMENSIONS:
        raise UsageError(
            f"inputs of shape {tuple(first.shape)} are not images, but `dream` makes images "
            "only; `telemetry explain features` names the examples that activate a unit."
        )
    return examples


def _judged(
    made: Made, units: Sequence[Unit], place: int, real: Sequence[Example], origin: Origin
) -> Dream:
    """The pictures of one unit against noise, real examples and the pictures of other units."""
    unit = units[place]
    on_pictures, on_real, on_noise = map(unit.read, (made.answers, made.real, made.noise))
    mine = (torch.tensor(made.owners) == place).nonzero()[:, 0]
    order = mine[on_pictures[mine].argsort(descending=True)]
    best, real_sd = float(on_pictures[order[0]]), float(on_real.std(correction=0))
    noise_mean, noise_sd = float(on_noise.mean()), float(on_noise.std(correction=0))
    own = made.pictures[order]
    same = mean_correlation(own, own) if len(own) > 1 else None
    unit_sd = real_sd if real_sd > EPSILON else 1.0
    best_unit, beside = _beside_others(
        made, units, place, rise=(best - noise_mean) / unit_sd, unit_sd=unit_sd, same=same
    )
    top = on_real.topk(min(TOP, len(on_real)))
    return Dream(
        id="",
        origin=origin,
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
        checks=(
            above_noise(above(best, noise_mean, noise_sd)),
            above_real(best, float(on_real.max())),
            *beside,
        ),
        forwards=0,
        seconds=0.0,
        seed=0,
        params={},
    )


def _beside_others(
    made: Made,
    units: Sequence[Unit],
    place: int,
    *,
    rise: float,
    unit_sd: float,
    same: float | None,
) -> tuple[int, list[Check]]:
    """The unit whose picture excites one most, and checks against the pictures of other units.

    Args:
        made: All pictures.
        units: Of which some or all have pictures.
        place: Of the one.
        rise: Its answer to its best picture above noise, in `unit_sd`.
        unit_sd: Deviation of its answers to real examples.
        same: Mean correlation of its own pictures; None: there is one.
    """
    unit, owners = units[place], torch.tensor(made.owners)
    mine, others = ((owners == place).nonzero()[:, 0], (owners != place).nonzero()[:, 0])
    if not len(others):
        return unit.index, []
    on_pictures = unit.read(made.answers)
    rival = others[on_pictures[others].argmax()]
    lead = float(on_pictures[rival] - on_pictures[mine].max()) / unit_sd
    rival_unit = units[int(owners[rival])].index
    checks = [own_unit(lead, rise, rival_unit)]
    is_one_place = made.answers.dim() == FLAT or unit.position is not None
    if same is not None and is_one_place:  # a mean over places says not where its pattern is
        other = mean_correlation(made.pictures[mine], made.pictures[others])
        checks.append(seeds_agree(same, other))
    return rival_unit if lead > 0 else unit.index, checks


def _z(made: Made, unit: Unit, place: int) -> float:
    """How far above noise the picture at a place is."""
    noise = unit.read(made.noise)
    value = float(unit.read(made.answers)[place])
    return above(value, float(noise.mean()), float(noise.std(correction=0)))


def _identity(
    subject: Subject, layer: str, unit: Unit, settings: DreamSettings, start: str | None
) -> str:
    how = settings
    return identity_of(
        {
            "verb": "dream",
            "of": subject.identity,
            "dataset": subject.examples.name if subject.examples else "",
            "layer": layer,
            "unit": str(unit),
            "start": start,
            "n_real": settings.limit,
            "how": [how.steps, how.smooth, how.jitter, how.octaves, how.seed],
        }
    )


def _start(examples: ExampleSet, start: str) -> Tensor | None:
    """The image that pictures begin as, from 0 to 1; None: noise."""
    if start == NOISE:
        return None
    if is_input_file(start):
        values = read_input(Path(start), examples)
    else:
        values = examples.find(start).input
    return UnitScale.of(examples).unit(values)


def _ticks(of: int, progress: Progress | None) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, of)

    return tick
