"""What excites the units of a layer: the examples that do it most, and the structure they share.

Of images each example is cropped to what the unit sees, beside its deconvolution: what the network
passes back from the unit to the input.
Source: Zeiler and Fergus 2014, Visualizing and understanding convolutional networks,
arXiv:1311.2901.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, Example, ExampleSet, Modality
from telemetry.explain.inputs.masks import Box
from telemetry.explain.models.layers import Layer, Unit, listening
from telemetry.explain.models.origin import Origin
from telemetry.explain.models.relu_rule import under_rule
from telemetry.explain.models.subject import Subject, examples_of
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import Check, rule_saw_all
from telemetry.explain.results.identities import identity_of
from telemetry.explain.results.result import Result
from telemetry.explain.units.one_map import are_one_map, largest
from telemetry.explain.units.receptive import receptive_fields
from telemetry.json_values import Json
from telemetry.requests.explain.features import FeaturesSettings

PATCHES = 9
RULE = "deconv"
EPSILON = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """An example that excites a unit, where, and the structure that does it.

    Attributes:
        example: The example.
        value: Largest answer of the unit to it.
        place: Row and column of the layer at which it is; None: the layer has no places.
        box: What the unit sees there; None: no image.
        deconvolution: Of the input's shape; None: no image, or one of whole numbers.
    """

    example: Example
    value: float
    place: tuple[int, int] | None
    box: Box | None
    deconvolution: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitFeature:
    """One unit: patches from the strongest on, fewer than nine where fewer examples excite it.

    `has_one_map` says that the deconvolution is the same picture whatever the input.
    """

    unit: int
    patches: tuple[Patch, ...]
    is_dead: bool
    has_one_map: bool = False

    @property
    def shown_maps(self) -> tuple[int, ...]:
        """Places of the patches whose deconvolutions are worth a picture of their own."""
        if not self.has_one_map:
            return tuple(range(len(self.patches)))
        return (largest([patch.box for patch in self.patches]),)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features(Result):
    """The units of a layer.

    Attributes:
        id: Equal for equal questions to equal weights.
        origin: Whose answer it is.
        layer: Its name.
        units: Those that are shown.
        n_units: How many the layer has.
        n_dead: Of them, how many answer the same at every place of every example.
        n_examples: How many were searched.
        field: Height and width of what a unit sees; None: no image.
        checks: What deconvolutions were held against.
        forwards: Inputs that the model was run on.
        seconds: How long it took.
        params: Settings that they were searched with.
    """

    KIND: ClassVar[str] = "features"

    id: str
    origin: Origin
    layer: str
    units: tuple[UnitFeature, ...]
    n_units: int
    n_dead: int
    n_examples: int
    field: tuple[int, int] | None
    checks: tuple[Check, ...]
    forwards: int
    seconds: float
    params: Mapping[str, Json]

    @property
    def has_deconvolutions(self) -> bool:
        """Whether gradients reach the inputs, which are images."""
        patches = (patch for unit in self.units for patch in unit.patches)
        return any(patch.deconvolution is not None for patch in patches)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Peaks:
    """Largest answer of each unit to each example, its place, and the least; (n, n_units)."""

    indices: Tensor  # of the examples, shape (n,)
    values: Tensor
    lows: Tensor
    places: Tensor  # in the flattened places
    width: int | None  # of the places; None: there are none


def features(
    subject: Subject,
    layer: str,
    settings: FeaturesSettings | None = None,
    progress: Progress | None = None,
) -> Features:
    """The examples that excite units of a layer most.

    Args:
        subject: Model and examples.
        layer: A module, or `output`.
        settings: Which units.
        progress: Told of every batch.

    Raises:
        UsageError: no examples, no such layer, or no such unit.
    """
    settings, started = settings or FeaturesSettings(), time.perf_counter()
    examples = examples_of(subject)
    with subject.running(gradient=True), listening(subject, layer) as heard:
        wanted = [Unit(index=unit) for unit in settings.units]
        n_units = heard.check(wanted, examples.example(0))
        peaks = _peaks(heard, examples, settings, progress)
        dead = (peaks.values.amax(0) - peaks.lows.amin(0)) <= EPSILON
        chosen = settings.units or standing_out(peaks.values, settings.n_units)
        found, field, checks = _described(heard, examples, peaks, chosen, dead, settings.batch)
    return Features(
        id=identity_of(
            {
                "verb": "features",
                "of": subject.identity,
                "dataset": examples.name,
                "layer": layer,
                "units": list(chosen),
                "limit": settings.limit,
            }
        ),
        origin=subject.origin,
        layer=layer,
        units=found,
        n_units=n_units,
        n_dead=int(dead.sum()),
        n_examples=len(peaks.indices),
        field=field,
        checks=checks,
        forwards=heard.forwards,
        seconds=time.perf_counter() - started,
        params={"units": list(settings.units), "top": settings.n_units, "limit": settings.limit},
    )


def standing_out(values: Tensor, most: int) -> tuple[int, ...]:
    """The units whose largest answer stands farthest above their mean, in standard deviations.

    Those that never answer above 0 come last: a ReLU behind them passes nothing on.

    Args:
        values: Shape (n, n_units).
        most: How many units.
    """
    spread = values.std(0, correction=0)
    z = (values.amax(0) - values.mean(0)) / spread.clamp_min(EPSILON)
    z = torch.where(values.amax(0) > 0, z, z - float(z.max()) - 1)
    z = torch.where(spread > EPSILON, z, -torch.inf)
    order = z.argsort(descending=True, stable=True)[:most]
    return tuple(order.tolist())


def is_image(examples: ExampleSet) -> bool:
    """Whether inputs are images, which can be cropped and drawn."""
    dims = examples.example(0).input.dim()
    return examples.modality is Modality.IMAGE and dims == IMAGE_DIMENSIONS


def deconvolution(
    layer: Layer, values: Tensor, unit: int, place: tuple[int, int] | None
) -> tuple[Tensor, Check]:
    """What the network passes back from a unit; call it inside `running(gradient=True)`.

    Args:
        layer: The layer.
        values: The input.
        unit: Which unit.
        place: Where; None: the layer has no places.
    """
    target = Unit(index=unit, position=place)
    report = under_rule(RULE, lambda inputs: target.read(layer(inputs)), values)
    return report.values.cpu(), rule_saw_all(report)


def _peaks(
    layer: Layer, examples: ExampleSet, settings: FeaturesSettings, progress: Progress | None
) -> _Peaks:
    n = len(examples) if settings.limit is None else min(settings.limit, len(examples))
    picks = (torch.arange(n) * len(examples)) // n
    values, lows, places, order, width = [], [], [], [], None
    for start in range(0, n, settings.batch):
        chunk = [examples.example(i) for i in picks[start : start + settings.batch].tolist()]
        for group in _of_one_shape(chunk):
            answers = layer.answers(group, settings.batch)
            width = answers.shape[-1] if answers.dim() == IMAGE_DIMENSIONS + 1 else None
            peak = answers.flatten(2).max(2) if answers.dim() > 2 else None  # noqa: PLR2004
            values.append(answers if peak is None else peak.values)
            lows.append(answers if peak is None else answers.flatten(2).amin(2))
            places.append(torch.zeros_like(answers).long() if peak is None else peak.indices)
            order += [example.index for example in group]
        if progress is not None:
            progress(start + len(chunk), n)
    return _Peaks(
        indices=torch.tensor(order),
        values=torch.cat(values),
        lows=torch.cat(lows),
        places=torch.cat(places),
        width=width,
    )


def _of_one_shape(chunk: Sequence[Example]) -> Iterator[list[Example]]:
    shapes: dict[tuple[int, ...], list[Example]] = {}
    for example in chunk:
        shapes.setdefault(tuple(example.input.shape), []).append(example)
    yield from shapes.values()


def _described(
    layer: Layer,
    examples: ExampleSet,
    peaks: _Peaks,
    units: Sequence[int],
    dead: Tensor,
    batch: int,
) -> tuple[tuple[UnitFeature, ...], tuple[int, int] | None, tuple[Check, ...]]:
    """The units with their patches, the size of what they see, and the worst check."""
    drawn = is_image(examples)
    fields = receptive_fields(layer, examples.example(0).input, batch) if drawn else None
    found, checks = [], []
    for unit in units:
        values = peaks.values[:, unit]
        rows = values.argsort(descending=True, stable=True)[:PATCHES]
        rows = rows[values[rows] > values.min() + EPSILON]  # the others leave the unit at rest
        patches = []
        for row in rows.tolist():
            example, place, box, map_ = examples.example(int(peaks.indices[row])), None, None, None
            if peaks.width is not None:
                place = divmod(int(peaks.places[row, unit]), peaks.width)
            if fields is not None:
                box = fields.box(*(place or (0, 0)))
                if example.input.is_floating_point():  # whole numbers pass no gradient
                    map_, check = deconvolution(layer, example.input, unit, place)
                    checks.append(check)
            patches.append(
                Patch(
                    example=example,
                    value=float(values[row]),
                    place=place,
                    box=box,
                    deconvolution=map_,
                )
            )
        found.append(
            UnitFeature(
                unit=unit,
                patches=tuple(patches),
                is_dead=bool(dead[unit]),
                has_one_map=fields is not None and _has_one_map(patches, fields.size),
            )
        )
    worst = sorted(checks, key=lambda check: (check.ok, -check.value))[:1]
    return tuple(found), None if fields is None else fields.size, tuple(worst)


def _has_one_map(patches: Sequence[Patch], size: tuple[int, int]) -> bool:
    maps = [patch.deconvolution for patch in patches if patch.deconvolution is not None]
    return are_one_map(maps, [p.box for p in patches if p.deconvolution is not None], size)
