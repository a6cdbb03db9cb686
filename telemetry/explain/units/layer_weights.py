"""What the weights of a layer look like: directions in use, dead rows, twins.

A row is what makes one output of a layer: a filter of a convolution, a row of a matrix. Everything
is set beside a freshly initialised layer of the same shape. No forward pass is run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, overload

import torch
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.models.checkpoints import Checkpoint, read_checkpoint
from telemetry.explain.models.origin import Origin
from telemetry.explain.models.random_weights import with_random_weights
from telemetry.explain.models.subject import Subject
from telemetry.explain.names import known
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import Check
from telemetry.explain.results.identities import identity_of
from telemetry.explain.results.result import Result
from telemetry.explain.units.weight_measures import (
    dead_rows,
    effective_rank,
    octaves,
    smoothness,
    twin_rows,
)
from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session
from telemetry.store.summaries.weight_table import StoredWeights, stored_weights

COMPARED_ROWS = 8192  # beyond, pairs are too many to be compared
SHOWN_ROWS = 64  # of a picture
KERNEL_DIMENSIONS = 4  # out, in, height, width
MATRIX = 2  # dimensions
SUFFIX = ".weight"
KERNELS = (nn.Conv1d, nn.ConvTranspose1d, nn.Conv2d, nn.ConvTranspose2d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerWeights(Result):
    """The weights of one layer.

    Attributes:
        id: Equal for equal questions to equal weights.
        origin: Whose answer it is.
        layer: Its name in the model.
        kind: Class of the module.
        weight: Shape (rows, ...), float32, on the host.
        norms: L2 norm of each row.
        rank: Effective number of directions.
        random_rank: Of a fresh layer of this shape.
        dead: Rows without weights to speak of.
        twins: Pairs of rows that point the same way; None: too many rows to compare.
        random_n_dead: Dead rows of a fresh layer.
        random_n_twins: Its pairs of twins; None: too many rows.
        octaves: Weights of a magnitude from 2^e up to 2^(e+1), by e.
        smoothness: How alike neighbours of a kernel are, -1 to 1; None: no kernel.
        random_smoothness: Of a fresh layer.
        drift: Norm of what training changed over that of the first weights; None: these are
            not known.
        checks: What it was held against.
        top: Rows that a picture shows, those of the largest norms.
        seed: Of the fresh layer.
    """

    KIND: ClassVar[str] = "weights"

    id: str
    origin: Origin
    layer: str
    kind: str
    weight: Tensor
    norms: Tensor
    rank: float
    random_rank: float
    dead: tuple[int, ...]
    twins: tuple[tuple[int, int], ...] | None
    random_n_dead: int
    random_n_twins: int | None
    octaves: Mapping[int, int]
    smoothness: float | None
    random_smoothness: float | None
    drift: float | None
    checks: tuple[Check, ...]
    top: int
    seed: int

    @property
    def scale(self) -> float:
        """The largest absolute weight: what the ends of the picture's colours stand for."""
        return float(self.weight.abs().max())

    @property
    def is_first_filters(self) -> bool:
        """Whether rows are small pictures: kernels over the channels of an image."""
        return self.weight.dim() == KERNEL_DIMENSIONS and self.weight.shape[1] in {1, 3, 4}


@overload
def weights(
    subject: Subject,
    layer: str | None = None,
    *,
    top: int = SHOWN_ROWS,
    seed: int = 0,
    initial: str | None = None,
    progress: Progress | None = None,
) -> list[LayerWeights]: ...


@overload
def weights(subject: Run, layer: str | None = None) -> list[StoredWeights]: ...


def weights(
    subject: Subject | Run,
    layer: str | None = None,
    *,
    top: int = SHOWN_ROWS,
    seed: int = 0,
    initial: str | None = None,
    progress: Progress | None = None,
) -> list[LayerWeights] | list[StoredWeights]:
    """The weights of one layer, or of every layer that has a matrix or kernels.

    Args:
        subject: The model; or a run, whose norms and histograms are read as it recorded them last.
        layer: A module or parameter; None: all.
        top: Rows that a picture shows.
        seed: Of the fresh layers.
        initial: File of the oldest weights; counts where its step is 0.
        progress: Told of every layer.

    Raises:
        UsageError: no such layer, none at all, or the file belongs to another model.
        Inconclusive: the run recorded no weights.
    """
    if isinstance(subject, Run):
        with Session([subject]) as session:
            return stored_weights(session, subject, layer=layer)[1]
    found = dict(_layers(subject.model))
    if not found:
        raise UsageError("the model has no layer with a matrix or kernels.")
    if layer is not None:
        name = layer.removesuffix(SUFFIX)
        found = {name: found[known("layer", name, found)]}
    first = None if initial is None else read_checkpoint(Path(initial))
    start = first if first is not None and first.step == 0 else None
    origin, described = subject.origin, list[LayerWeights]()
    for name, (owner, parameter) in found.items():
        found_here = _described(subject, origin, name, owner, parameter, seed=seed, first=start)
        if layer is not None:  # the picture is a part of the question
            asked = identity_of({"of": found_here.id, "top": top})
            found_here = replace(found_here, id=asked, top=top)
        described.append(found_here)
        if progress is not None:
            progress(len(described), len(found))
    return described


def _layers(model: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
    """Name, module and parameter of whatever has rows."""
    for full, parameter in model.named_parameters():
        if parameter.dim() > 1:
            path, _, name = full.rpartition(".")
            yield full.removesuffix(SUFFIX), (model.get_submodule(path), name)


def _rows(owner: nn.Module, name: str) -> Tensor:
    """A parameter with its outputs first, float32, on the host."""
    values: Tensor = getattr(owner, name).detach().float().cpu()
    while values.dim() > MATRIX and len(values) == 1 and not isinstance(owner, KERNELS):
        values = values[0]  # of a position in (1, positions, features)
    return values.transpose(0, 1) if isinstance(owner, TRANSPOSED) else values


def _described(
    subject: Subject,
    origin: Origin,
    layer: str,
    owner: nn.Module,
    name: str,
    *,
    seed: int,
    first: Checkpoint | None,
) -> LayerWeights:
    weight = _rows(owner, name)
    n_bad = int((~torch.isfinite(weight)).sum())
    usable = torch.nan_to_num(weight, nan=0.0, posinf=0.0, neginf=0.0)
    matrix = usable.flatten(1)
    norms = matrix.norm(dim=1)
    fresh = torch.nan_to_num(_rows(with_random_weights(owner, seed), name))
    fresh_norms = fresh.flatten(1).norm(dim=1)
    can_compare = len(matrix) <= COMPARED_ROWS
    has_kernels = isinstance(owner, KERNELS) and max(weight.shape[2:]) > 1
    return LayerWeights(
        id=identity_of(
            {
                "verb": "weights",
                "layer": layer,
                "of": origin.checkpoint,
                "seed": seed,
                "since": None if first is None else first.digest,
            }
        ),
        origin=origin,
        layer=layer,
        kind=type(owner).__name__,
        weight=usable,
        norms=norms,
        rank=effective_rank(matrix),
        random_rank=effective_rank(fresh.flatten(1)),
        dead=_dead(norms, owner),
        twins=twin_rows(matrix, norms) if can_compare else None,
        random_n_dead=len(_dead(fresh_norms, owner)),
        random_n_twins=len(twin_rows(fresh.flatten(1), fresh_norms)) if can_compare else None,
        octaves=octaves(usable),
        smoothness=smoothness(usable) if has_kernels else None,
        random_smoothness=smoothness(fresh) if has_kernels else None,
        drift=_drift(subject, owner, name, first),
        checks=(
            Check(
                name="finite",
                value=float(n_bad),
                threshold=0.0,
                ok=n_bad == 0,
                meaning="weights are NaN or infinite; they count as 0 in what follows",
            ),
        ),
        top=SHOWN_ROWS,
        seed=seed,
    )


def _dead(norms: Tensor, owner: nn.Module) -> tuple[int, ...]:
    """Dead rows, but not that of padding, which is 0 on purpose."""
    padding = owner.padding_idx if isinstance(owner, nn.Embedding | nn.EmbeddingBag) else None
    return tuple(row for row in dead_rows(norms) if row != padding)


def _drift(subject: Subject, owner: nn.Module, name: str, first: Checkpoint | None) -> float | None:
    """How far training has moved a parameter, in norms of what it was.

    Raises:
        UsageError: the first weights have no such parameter.
    """
    if first is None:
        return None
    own = getattr(owner, name)
    full = next(path for path, value in subject.model.named_parameters() if value is own)
    before = first.state.get(full)
    if before is None or before.shape != own.shape:
        raise UsageError(f"{first.path}: has no {full} of shape {tuple(own.shape)}.")
    size = float(before.double().norm())
    moved = float((own.detach().cpu().double() - before.double()).norm())
    return moved / size if size > 0 else None
