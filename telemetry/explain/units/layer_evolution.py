"""How the layers of a network change over its checkpoints, and from when on each has settled.

Source: Kornblith et al. 2019, Similarity of neural network representations revisited,
arXiv:1905.00414 (linear CKA).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example
from telemetry.explain.models.checkpoints import read_checkpoint
from telemetry.explain.models.layers import main_output, spread_examples, units_first
from telemetry.explain.models.subject import Subject, examples_of
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import Check

Represented = Mapping[str, Tensor]  # by layer, shape (n, n_units)

EXAMPLES = 256
SETTLED = 0.1  # of the change from the first checkpoint to the last
UNCHANGED = 1e-3
SAME = 1e-5
MOST_CHECKPOINTS = 16
LEAST_CHECKPOINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far a layer is from what it becomes: 1 - CKA with its last self, at each checkpoint."""

    layer: str
    changes: tuple[float, ...]

    @property
    def is_unchanged(self) -> bool:
        """Whether training did nothing to it."""
        return max(self.changes) < UNCHANGED

    def settled(self, steps: Sequence[int]) -> int | None:
        """First step from which on it stays within a tenth of its first distance.

        None: it is unchanged. A fixed bound would call layers settled that begin close to what
        they become.
        """
        if self.is_unchanged:
            return None
        near = [change < SETTLED * self.changes[0] for change in self.changes]
        last_far = max((i for i, is_near in enumerate(near) if not is_near), default=-1)
        return steps[min(last_far + 1, len(steps) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One checkpoint of a run, the step it is from, and the digest of the file."""

    path: Path
    step: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolution:
    """Courses of all layers.

    Attributes:
        moments: The checkpoints, in the order of their steps.
        has_steps: Whether the files say their steps; else these are their places.
        courses: In the order of the model.
        checks: What they were held against.
        forwards: Inputs that the model was run on.
    """

    moments: tuple[Moment, ...]
    has_steps: bool
    courses: tuple[Course, ...]
    checks: tuple[Check, ...]
    forwards: int

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the checkpoints, ascending."""
        return tuple(moment.step for moment in self.moments)

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)


def moments(paths: Sequence[Path], *, state_key: str | None = None) -> tuple[list[Moment], bool]:
    """Checkpoints by step, at most 16 spread over its logarithm, and whether steps are known.

    Args:
        paths: Files of one run, in the order they were written.
        state_key: Where in a file the state dict lies.

    Raises:
        UsageError: fewer than three, or one that cannot be read.
    """
    if len(paths) < LEAST_CHECKPOINTS:
        raise UsageError(
            f"--evolution needs at least {LEAST_CHECKPOINTS} checkpoints, found {len(paths)}; "
            "name them with --checkpoints 'ckpt/*.pt'."
        )
    found: list[Moment] = []
    has_steps = True
    for place, path in enumerate(paths):
        file = read_checkpoint(path, state_key=state_key)
        has_steps = has_steps and file.step is not None
        step = place if file.step is None else file.step
        found.append(Moment(path=path, step=step, digest=file.digest))
    if not has_steps or len({moment.step for moment in found}) < len(found):
        found = [replace(moment, step=place) for place, moment in enumerate(found)]
        has_steps = False
    found.sort(key=lambda moment: moment.step)
    return [found[place] for place in log_spaced([moment.step for moment in found])], has_steps


def log_spaced(steps: Sequence[int]) -> list[int]:
    """Places of at most 16 steps, ends included, spread evenly over the logarithm."""
    if len(steps) <= MOST_CHECKPOINTS:
        return list(range(len(steps)))
    logs = torch.tensor([step - steps[0] + 1 for step in steps], dtype=torch.float64).log()
    wanted = torch.linspace(0, float(logs[-1]), MOST_CHECKPOINTS, dtype=torch.float64)
    places = (logs[None, :] - wanted[:, None]).abs().argmin(1)
    return sorted({0, len(steps) - 1, *places.tolist()})


def at_checkpoints(subject: Subject) -> Subject:
    """A subject whose model may be given the weights of other checkpoints."""
    return replace(subject, model=copy.deepcopy(subject.model))


def evolution(
    subject: Subject,
    checkpoints: Sequence[str | Path],
    *,
    state_key: str | None = None,
    batch: int = 64,
    progress: Progress | None = None,
) -> Evolution:
    """Compare what every layer with weights says of 256 examples, over checkpoints.

    Args:
        subject: Model and examples; its own weights do not count and stay as they are.
        checkpoints: Files of one run, in the order they were written; at most 16 are read, spread
            over the logarithm of the step.
        state_key: Where in a file the state dict lies.
        batch: Inputs a forward.
        progress: Told of every checkpoint.

    Raises:
        UsageError: fewer than three files, no examples, inputs of several shapes, or a checkpoint
            of another model.
    """
    examples = spread_examples(examples_of(subject), EXAMPLES)
    if len({tuple(example.input.shape) for example in examples}) > 1:
        raise UsageError(
            "--evolution: the inputs have several shapes; it needs inputs of the same shape."
        )
    found, has_steps = moments([Path(path) for path in checkpoints], state_key=state_key)
    seen: list[Represented] = []
    other = at_checkpoints(subject)
    for done, moment in enumerate(found):
        seen.append(
            represented(other.with_weights(moment.path, state_key=state_key), examples, batch)
        )
        if progress is not None:
            progress(done + 1, len(found))
    again = represented(other, examples, batch)
    names = [name for name in seen[-1] if all(name in part for part in seen)]
    if not names:
        raise UsageError(
            "--evolution: no layer with weights returns a tensor with one row per example."
        )
    return Evolution(
        moments=tuple(found),
        has_steps=has_steps,
        courses=tuple(_course(name, [part[name] for part in seen]) for name in names),
        checks=(_same_twice(seen[-1], again, names),),
        forwards=(len(found) + 1) * len(examples),
    )


def _course(layer: str, seen: Sequence[Tensor]) -> Course:
    """How far what a layer says is from what it says in the end, at each checkpoint."""
    return Course(
        layer=layer, changes=tuple(max(0.0, 1 - linear_cka(part, seen[-1])) for part in seen)
    )


def _same_twice(last: Represented, again: Represented, names: Sequence[str]) -> Check:
    worst = max(abs(1 - linear_cka(last[name], again[name])) for name in names)
    return Check(
        name="same_twice",
        value=worst,
        threshold=SAME,
        ok=worst <= SAME,
        meaning="the last checkpoint gives other answers when it is run again",
    )


def linear_cka(left: Tensor, right: Tensor) -> float:
    """Similarity of two representations of the same n examples, 0 to 1; rotation does not count.

    Args:
        left: Shape (n, p).
        right: Shape (n, q).

    Returns:
        1 where neither varies, 0 where only one does.
    """
    grams = []
    for values in (left.double(), right.double()):
        centred = values - values.mean(0)
        grams.append(centred @ centred.T)
    sizes = [float(gram.norm()) for gram in grams]
    if min(sizes) == 0:
        return 1.0 if max(sizes) == 0 else 0.0
    return float((grams[0] * grams[1]).sum()) / (sizes[0] * sizes[1])


def represented(subject: Subject, examples: Sequence[Example], batch: int) -> Represented:
    """What every layer with weights says of examples: means over places, shape (n, n_units)."""
    found: dict[str, list[Tensor]] = {}
    with subject.running():
        handles = [
            module.register_forward_hook(_collector(name, found))
            for name, module in subject.model.named_modules()
            if any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))
        ]
        try:
            for start in range(0, len(examples), batch):
                group = examples[start : start + batch]
                subject.outputs(torch.stack([example.input for example in group]))
        finally:
            for handle in handles:
                handle.remove()
    joined = {name: torch.cat(parts) for name, parts in found.items()}
    return {name: values for name, values in joined.items() if len(values) == len(examples)}


def _collector(
    name: str, found: dict[str, list[Tensor]]
) -> Callable[[nn.Module, tuple[object, ...], object], None]:
    """A hook that keeps what a layer gives."""

    def hear(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        first = inputs[0] if inputs else None
        n = len(first) if isinstance(first, Tensor) and first.dim() else 0
        answers = units_first(main_output(output), module, n)
        if answers is not None:
            means = answers.flatten(2).mean(2) if answers.dim() > 2 else answers  # noqa: PLR2004
            found.setdefault(name, []).append(means.float().cpu())

    return hear
