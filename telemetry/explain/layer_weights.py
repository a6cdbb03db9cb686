"""What the weights of a layer look like: directions in use, dead rows, twins.

A row is what makes one output of a layer: a filter of a convolution, a row of a matrix. Everything
is set beside a freshly initialised layer of the same shape. No forward pass is run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.checkpoints import Checkpoint, read_checkpoint
from telemetry.explain.checks import Check
from telemetry.explain.evaluation import Progress
from telemetry.explain.identities import identity_of
from telemetry.explain.names import known
from telemetry.explain.random_weights import with_random_weights
from telemetry.explain.subject import Subject

DEAD = 1e-3  # of the median norm of the rows
TWIN = 0.99  # cosine from which two rows are the same feature
COMPARED_ROWS = 8192  # beyond, pairs are too many to be compared
CHUNK = 1024
KERNEL_DIMENSIONS = 4  # out, in, height, width
SUFFIX = ".weight"
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerWeights:
    """The weights of one layer.

    Attributes:
        id: Equal for equal questions to equal weights.
        layer: Its name in the model.
        kind: Class of the module.
        weight: Shape (rows, ...), float32, on the host.
        norms: L2 norm of each row.
        rank: Effective number of directions.
        random_rank: Of a fresh layer of this shape.
        dead: Rows without weights to speak of.
        twins: Pairs of rows that point the same way; None: too many rows to compare.
        smoothness: How alike neighbours of a kernel are, -1 to 1; None: no kernel.
        random_smoothness: Of a fresh layer.
        drift: Norm of what training changed over that of the first weights; None: these are
            not known.
        checks: What it was held against.
    """

    id: str
    layer: str
    kind: str
    weight: Tensor
    norms: Tensor
    rank: float
    random_rank: float
    dead: tuple[int, ...]
    twins: tuple[tuple[int, int], ...] | None
    smoothness: float | None
    random_smoothness: float | None
    drift: float | None
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def scale(self) -> float:
        """The largest absolute weight: what the ends of the picture's colours stand for."""
        return float(self.weight.abs().max())

    @property
    def is_first_filters(self) -> bool:
        """Whether rows are small pictures: kernels over the channels of an image."""
        return self.weight.dim() == KERNEL_DIMENSIONS and self.weight.shape[1] in {1, 3, 4}


def weights(
    subject: Subject,
    layer: str | None = None,
    *,
    seed: int = 0,
    initial: str | None = None,
    progress: Progress | None = None,
) -> list[LayerWeights]:
    """The weights of one layer, or of every layer that has a matrix or kernels.

    Args:
        subject: The model.
        layer: A module or parameter; None: all.
        seed: Of the fresh layers.
        initial: File of the oldest weights; counts where its step is 0.
        progress: Told of every layer.

    Raises:
        UsageError: no such layer, none at all, or the file belongs to another model.
    """
    found = dict(_layers(subject.model))
    if not found:
        raise UsageError("the model has no layer with a matrix or kernels.")
    if layer is not None:
        name = layer.removesuffix(SUFFIX)
        found = {name: found[known("layer", name, found)]}
    first = None if initial is None else read_checkpoint(Path(initial))
    start = first if first is not None and first.step == 0 else None
    described: list[LayerWeights] = []
    for name, (owner, parameter) in found.items():
        described.append(_described(subject, name, owner, parameter, seed=seed, first=start))
        if progress is not None:
            progress(len(described), len(found))
    return described


def effective_rank(matrix: Tensor) -> float:
    """Exponential of the entropy of the singular values; 0 for a matrix of zeros.

    Args:
        matrix: Shape (rows, columns), finite.

    Source: Roy and Vetterli 2007, The effective rank.
    """
    tall = matrix.double() if len(matrix) >= matrix.shape[1] else matrix.double().T
    values = torch.linalg.eigvalsh(tall.T @ tall).clamp_min(0).sqrt()  # the singular values
    total = float(values.sum())
    if total == 0:
        return 0.0
    shares = values[values > 0] / total
    return float((-(shares * shares.log()).sum()).exp())


def dead_rows(norms: Tensor) -> tuple[int, ...]:
    """Rows whose norm is below a thousandth of the median."""
    return tuple((norms <= DEAD * norms.median()).nonzero()[:, 0].tolist())


def twin_rows(matrix: Tensor, norms: Tensor) -> tuple[tuple[int, int], ...]:
    """Pairs (i, j), i < j, of rows whose cosine is above 0.99; dead rows are left out."""
    alive = norms > DEAD * norms.median()
    unit = torch.where(alive[:, None], matrix / norms.clamp_min(1e-30)[:, None], 0.0)
    found: list[tuple[int, int]] = []
    for start in range(0, len(unit), CHUNK):
        close = (unit[start : start + CHUNK] @ unit.T) > TWIN
        pairs = close.nonzero().tolist()
        found += [(start + i, j) for i, j in pairs if start + i < j]
    return tuple(found)


def smoothness(kernels: Tensor) -> float:
    """Correlation of neighbours in kernels, around zero; random kernels have 0.

    Args:
        kernels: Shape (out, in, height, width).
    """
    right = (kernels[..., 1:], kernels[..., :-1])
    below = (kernels[..., 1:, :], kernels[..., :-1, :])
    product = sum(float((a * b).sum()) for a, b in (right, below))
    size = sum(float((a**2 + b**2).sum()) / 2 for a, b in (right, below))
    return product / size if size > 0 else 0.0


def _layers(model: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
    """Name, module and parameter of whatever has rows."""
    for full, parameter in model.named_parameters():
        if parameter.dim() > 1:
            path, _, name = full.rpartition(".")
            yield full.removesuffix(SUFFIX), (model.get_submodule(path), name)


def _rows(owner: nn.Module, name: str) -> Tensor:
    """A parameter with its outputs first, float32, on the host."""
    values: Tensor = getattr(owner, name).detach().float().cpu()
    return values.transpose(0, 1) if isinstance(owner, TRANSPOSED) else values


def _described(
    subject: Subject,
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
    fresh = _rows(with_random_weights(owner, seed), name)
    has_kernels = weight.dim() == KERNEL_DIMENSIONS and min(weight.shape[2:]) > 1
    return LayerWeights(
        id=identity_of(
            {
                "verb": "weights",
                "layer": layer,
                "of": subject.identity,
                "seed": seed,
                "since": None if first is None else first.digest,
            }
        ),
        layer=layer,
        kind=type(owner).__name__,
        weight=usable,
        norms=norms,
        rank=effective_rank(matrix),
        random_rank=effective_rank(torch.nan_to_num(fresh).flatten(1)),
        dead=dead_rows(norms),
        twins=twin_rows(matrix, norms) if len(matrix) <= COMPARED_ROWS else None,
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
    )


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
