"""Why two runs part, judged from what is known of the step at which they do; pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from telemetry.compare.divergence.sampled_bits import OUTPUT, Differing, SampledStep
from telemetry.compare.divergence.trained_parameters import Trained, listed
from telemetry.compare.settings.changed import Changed, Sort, named
from telemetry.compare.terms import DivergenceKind

# Relative difference of a loss up to which rounding may have made it: 1e-7 an operation in float32,
# some hundred times that after a network; the other limit is for half precision.
ROUNDING = 1e-4
HALF_ROUNDING = 2e-2
SAID_IN_PERCENT = 5e-4  # relative difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The first step at which two runs differ, and what differed first.

    Attributes:
        step: The first step with a difference; None if there is none, or no step in common.
        kind: Why the runs part.
        layer: Where the difference arises, as far as it was recorded.
        detail: The same in words.
        equal_until: The last common step before it, up to which every recorded number is equal.
        layers: All layers that differ at that step, the one where it arises first.
        magnitude: Relative difference of the first number that differs; NaN if it has none, as
            a hash. Rounding of float32 makes 1e-7 to 1e-5, another computation more.
        base: Id of the run of the base that was compared, one with the same seed if there is any.
        candidate: The same of the candidate; both '' where a file stands for the base.
    """

    step: int | None
    kind: DivergenceKind
    layer: str | None
    detail: str
    equal_until: int | None = None
    layers: tuple[str, ...] = ()
    magnitude: float = math.nan
    base: str = ""
    candidate: str = ""


class Stage(StrEnum):
    """Which part of a step, given equal weights and batch, has another result."""

    FORWARD = "forward"
    BACKWARD = "backward"
    UPDATE = "update"
    FORMER_UPDATE = "former update"  # of a step before: the weights differ already
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of two runs at their common steps.

    Attributes:
        first_step: The first common step, if it is the first of both runs.
        last_step: The last common step.
        step: The first step with a difference.
        equal_until: The last common step before it.
        other_parameter: Layer and text of the first parameter that only one run has or that has
            another shape.
        weights_known: Whether weights of the first step were recorded in both runs.
        checksum_differs: Whether those weights differ.
        differs: What differs at `step` in the rows of steps: data, loss, grad_norm, lr, checksum.
        trained: Which parameters the runs train at `step`.
        sampled: What was sampled of `step`.
        batch_known: Whether the batch of `step` was fingerprinted.
        magnitude: Relative difference of the loss, else of the gradient norm, at `step`.
        half_precision: Whether modules put out float16 or bfloat16.
        data: How the data differ, in words.
        changed: Settings that differ.
        same_code: Whether the runs ran the same code.
    """

    first_step: int | None
    last_step: int
    step: int | None
    equal_until: int | None
    other_parameter: tuple[str, str] | None
    weights_known: bool
    checksum_differs: bool
    differs: frozenset[str]
    sampled: SampledStep | None
    batch_known: bool
    magnitude: float = math.nan
    half_precision: bool = False
    data: str = "the batches differ"
    trained: Trained = field(default_factory=Trained)
    changed: Changed = field(default_factory=dict)
    same_code: bool | None = None

    def of(self, kind: str) -> tuple[Differing, ...]:
        """Sampled tensors of a kind that differ at `step`."""
        return self.sampled.of(kind) if self.sampled else ()

    @property
    def recorded(self) -> frozenset[str]:
        """Kinds of tensors that both runs sampled at `step`."""
        return self.sampled.recorded if self.sampled else frozenset()

    def equal(self, kind: str) -> bool:
        """Whether the sampled tensors of a kind are known to be equal at `step`."""
        return kind in self.recorded and not self.of(kind)

    @property
    def starts(self) -> bool:
        """Whether they part at the first step of both."""
        return self.step == self.first_step

    @property
    def weights(self) -> str:
        """What is said to be equal of the weights: no more than both runs recorded."""
        return "recorded weights" if self.trained.unread else "weights"

    def changes(self, *sorts: Sort) -> str:
        """The settings of some sorts that differ, in words; empty without one."""
        return named([change for sort in sorts for change in self.changed.get(sort, ())])


def judge_divergence(evidence: Evidence) -> Divergence:
    """Where two runs part and why, in the order of cause: weights, batch, then the step itself."""
    found = _judged(evidence)
    if not evidence.trained.differs or str(evidence.trained) in found.detail:
        return found
    return replace(found, detail=f"{found.detail.removesuffix('.')}; {evidence.trained}.")


def _judged(evidence: Evidence) -> Divergence:
    weights = _initial_weights(evidence)
    if weights is not None:
        return weights
    if evidence.step is None:
        return _no_difference(evidence)
    if "data" in evidence.differs:
        before = f"{evidence.weights} and earlier losses are equal"
        if evidence.starts:
            before = f"the {evidence.weights} are equal"
        known = f"; {before}" if evidence.weights_known else ""
        return _parted(evidence, DivergenceKind.DATA, f"{evidence.data}{known}.")
    if "lr" in evidence.differs:
        text = evidence.changes(Sort.OPTIMIZER, Sort.SETTING)
        return _parted(
            evidence,
            DivergenceKind.OPTIMIZATION,
            f"the learning rates differ{f': {text}' if text else ''}.",
        )
    stage = _stage(evidence)
    if evidence.trained.differs and not (evidence.starts and stage is Stage.FORWARD):
        return _parted(evidence, DivergenceKind.OPTIMIZATION, f"{evidence.trained}.")
    kind, reason = _kind(evidence, stage)
    place = _places(evidence, stage)
    return _parted(evidence, kind, f"{_what(evidence, stage)}; {reason}.", place)


def is_large(evidence: Evidence) -> bool:
    """Whether the first difference is beyond what rounding makes."""
    limit = HALF_ROUNDING if evidence.half_precision else ROUNDING
    return _magnitude(evidence) > limit


def _parted(
    evidence: Evidence, kind: DivergenceKind, detail: str, places: Sequence[Differing] = ()
) -> Divergence:
    layers = tuple(dict.fromkeys(place.layer for place in places))
    return Divergence(
        step=evidence.step,
        kind=kind,
        layer=layers[0] if layers else None,
        detail=detail,
        equal_until=evidence.equal_until,
        layers=layers,
        magnitude=_magnitude(evidence),
    )


def _initial_weights(evidence: Evidence) -> Divergence | None:
    step, found = evidence.first_step, evidence.sampled
    is_start = step is not None and evidence.step == step
    weights = evidence.of("weight") if is_start and found else ()
    layers = tuple(dict.fromkeys(one.layer for one in weights))
    if evidence.other_parameter is not None:
        layer, detail = evidence.other_parameter
        layers = (layer,)
    elif weights:
        more = len(weights) - 1
        others = f" and {more} more parameters start" if more else " starts"
        detail = f"{weights[0].name}{others} from different values"
    elif evidence.checksum_differs:
        detail = "the weights start from different values"
    else:
        return None
    if is_start and "data" in evidence.differs:
        detail += "; the first batches differ too"
    elif is_start and evidence.batch_known:
        detail += "; the first batches are equal"
    return Divergence(
        step=step,
        kind=DivergenceKind.INITIAL_WEIGHTS,
        layer=layers[0] if layers else None,
        detail=f"{detail}.",
        layers=layers,
    )


def _no_difference(evidence: Evidence) -> Divergence:
    last = evidence.last_step
    if evidence.weights_known or evidence.batch_known:
        kind = DivergenceKind.NONE
        detail = f"the runs are equal in every recorded number up to step {last}."
    else:
        kind = DivergenceKind.UNKNOWN
        detail = "the recorded losses are equal; weights and batches were not recorded."
    return Divergence(step=None, kind=kind, layer=None, detail=detail, equal_until=last)


def _stage(evidence: Evidence) -> Stage:
    if evidence.of("weight") or "checksum" in evidence.differs:
        return Stage.FORMER_UPDATE
    if evidence.of(OUTPUT):
        return Stage.FORWARD
    if "loss" in evidence.differs:
        known = evidence.equal("weight") or (evidence.starts and evidence.weights_known)
        return Stage.FORWARD if known else Stage.UNKNOWN
    if "grad_norm" in evidence.differs or evidence.of("gradient"):
        return Stage.BACKWARD
    return Stage.UPDATE


def _places(evidence: Evidence, stage: Stage) -> Sequence[Differing]:
    """Layers that differ, the one where the difference arises first."""
    if stage is Stage.FORMER_UPDATE:
        return evidence.of("weight")
    if stage is Stage.UPDATE:
        return evidence.of("update")
    if stage is Stage.FORWARD and OUTPUT in evidence.recorded:
        return evidence.of(OUTPUT)  # none: the loss itself
    return evidence.of("gradient")[::-1]  # the last layer is the first one in a backward pass


def _what(evidence: Evidence, stage: Stage) -> str:
    """What differs first, in words."""
    step, places = evidence.step, _places(evidence, stage)
    if stage is Stage.UPDATE:
        return "the gradients are equal, but the updates differ"
    if stage is Stage.FORMER_UPDATE:
        return (
            f"the weights at step {step} differ although earlier losses are equal: the update "
            "before this step differed"
        )
    size = _size(evidence)
    if stage is Stage.FORWARD and places and places[0].kind == OUTPUT:
        module = f"{places[0].layer or 'the model'} ({places[0].name})"
        return f"{evidence.weights} and batch are equal, but the output of {module} differs{size}"
    if stage is Stage.FORWARD:
        outputs = ", module outputs" if evidence.equal(OUTPUT) else ""
        return f"{evidence.weights}{outputs} and batch are equal, but the loss differs{size}"
    if stage is Stage.BACKWARD:
        return f"the loss is equal, but the gradient differs{size}"
    return f"the loss differs{size}; the weights at this step were not sampled in both runs"


def _kind(evidence: Evidence, stage: Stage) -> tuple[DivergenceKind, str]:
    """The cause, and the reason in words."""
    is_update = stage in {Stage.UPDATE, Stage.FORMER_UPDATE}
    optimizer = evidence.changes(Sort.OPTIMIZER, Sort.SETTING)
    if is_update and optimizer:
        return DivergenceKind.OPTIMIZATION, f"settings differ: {optimizer}"
    if not is_update:
        if evidence.starts and not evidence.weights_known:
            return DivergenceKind.UNKNOWN, "the initial weights were not sampled in both runs"
        if evidence.starts and stage is Stage.FORWARD and evidence.trained.unread:
            names = listed(evidence.trained.unread)
            return DivergenceKind.UNKNOWN, f"the values of {names} were not sampled in both runs"
        if not evidence.batch_known:
            reason = "the batch of this step has no fingerprint in one of the runs"
            return DivergenceKind.UNKNOWN, reason
    if stage is Stage.UPDATE and is_large(evidence) and not evidence.changes(Sort.CODE):
        return DivergenceKind.OPTIMIZATION, "the optimizer computes a different update"
    return _explained(evidence, stage)


def _explained(evidence: Evidence, stage: Stage) -> tuple[DivergenceKind, str]:
    """The cause of another result of equal weights and batch: the first reason that applies."""
    model = evidence.changes(Sort.MODEL)
    settings = evidence.changes(Sort.SETTING, Sort.OPTIMIZER)
    if _draws_random_numbers(evidence, stage) and not model:
        return DivergenceKind.NONDETERMINISM, "it draws different random numbers"
    if settings:
        modules = f"; modules differ: {model}" if model else ""
        return DivergenceKind.OPTIMIZATION, f"settings differ: {settings}{modules}"
    if model:
        return DivergenceKind.CODE, f"modules differ: {model}"
    return _beyond_rounding(evidence) if is_large(evidence) else _like_rounding(evidence)


def _draws_random_numbers(evidence: Evidence, stage: Stage) -> bool:
    places = _places(evidence, stage)
    return bool(places) and places[0].draws


def _beyond_rounding(evidence: Evidence) -> tuple[DivergenceKind, str]:
    code, seeds = evidence.changes(Sort.CODE), evidence.changes(Sort.REPEAT)
    if code:
        return DivergenceKind.CODE, f"code differs: {code}"
    if seeds:
        return DivergenceKind.NONDETERMINISM, f"the random numbers of this step differ: {seeds}"
    if not evidence.same_code:
        reason = (
            "no recorded setting differs and the difference is larger than rounding, so the "
            "code must differ"
        )
        return DivergenceKind.CODE, reason
    environment = evidence.changes(Sort.ENVIRONMENT)
    if environment:
        return DivergenceKind.ENVIRONMENT, f"environments differ: {environment}"
    reason = (
        "nothing else recorded differs: the cause is random numbers in this step, or other data "
        "that the loss reads"
    )
    return DivergenceKind.NONDETERMINISM, reason


def _like_rounding(evidence: Evidence) -> tuple[DivergenceKind, str]:
    code, environment = evidence.changes(Sort.CODE), evidence.changes(Sort.ENVIRONMENT)
    if environment:
        return DivergenceKind.ENVIRONMENT, f"environments differ: {environment}"
    if code:
        return DivergenceKind.NONDETERMINISM, f"this may be rounding; the code differs too: {code}"
    reason = "all recorded settings are equal, so an operation is not deterministic"
    return DivergenceKind.NONDETERMINISM, reason


def _magnitude(evidence: Evidence) -> float:
    """Relative size of the first difference; of the loss if it differs, for it has one number."""
    if not math.isnan(evidence.magnitude):
        return evidence.magnitude
    sizes = [
        one.magnitude
        for kind in (OUTPUT, "gradient", "update")
        for one in evidence.of(kind)
        if not math.isnan(one.magnitude)
    ]
    return max(sizes, default=math.nan)


def _size(evidence: Evidence) -> str:
    magnitude = _magnitude(evidence)
    if math.isnan(magnitude):
        return ""
    return (
        f" ({100 * magnitude:.1f} % apart)"
        if magnitude >= SAID_IN_PERCENT
        else f" ({magnitude:.0e} apart)"
    )
