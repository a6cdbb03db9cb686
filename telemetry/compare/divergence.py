"""The first step at which two runs part, and whether data, weights or optimisation did it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.compare import bitwise
from telemetry.compare.bitwise import CommonSteps, Mask, TensorDifference
from telemetry.compare.config_changes import is_repeat_key
from telemetry.compare.diff_result import ConfigChange, Divergence, DivergenceKind
from telemetry.store.catalog import Run
from telemetry.store.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about two runs at their common steps; a step of None means "never seen".

    `first_step` is the first common step and the first of both runs, else None. `other_parameter`
    is layer and text of the first parameter that only one run has or that has another shape.
    """

    first_step: int | None
    last_step: int
    other_parameter: tuple[str, str] | None
    weights_known: bool
    checksum_differs: bool
    data_step: int | None
    curve_step: int | None
    lr_step: int | None
    tensors: TensorDifference | None
    batch_known: bool
    settings_differ: bool


def first_divergence(
    session: Session, base: Run, candidate: Run, config: Sequence[ConfigChange]
) -> Divergence:
    """Where two runs part, in the order of cause: weights, batch, then loss, gradient and update.

    Args:
        session: Over both runs.
        base: One run.
        candidate: The other.
        config: Their settings that differ; seeds alone do not count as another optimisation.
    """
    common = bitwise.common_steps(session, base, candidate)
    if not common.steps.size:
        return Divergence(
            step=None,
            kind=DivergenceKind.UNKNOWN,
            layer=None,
            detail="the runs have no step in common.",
        )
    return judge_divergence(_evidence(session, common, (base, candidate), config))


def judge_divergence(evidence: Evidence) -> Divergence:
    """The kind of the first difference."""
    weights = _initial_weights(evidence)
    if weights is not None:
        return weights
    tensors = evidence.tensors
    seen = [evidence.data_step, evidence.curve_step, evidence.lr_step]
    known = [step for step in [*seen, tensors.step if tensors else None] if step is not None]
    if not known:
        return _no_difference(evidence)
    step = min(known)
    at_step = tensors if tensors and tensors.step == step else None
    if evidence.data_step == step:
        detail = "the batches differ; weights and earlier losses are equal."
        return Divergence(step=step, kind=DivergenceKind.DATA, layer=None, detail=detail)
    kind, detail = _cause(evidence, step, at_step)
    place = (at_step.first("gradient") or at_step.first("update")) if at_step else None
    return Divergence(step=step, kind=kind, layer=place[0] if place else None, detail=detail)


def _initial_weights(evidence: Evidence) -> Divergence | None:
    step, tensors = evidence.first_step, evidence.tensors
    place: tuple[str, str] | None = None
    layer: str | None = None
    if evidence.other_parameter is not None:
        layer, detail = evidence.other_parameter
    elif tensors and tensors.step == step and (place := tensors.first("weight")) is not None:
        layer, detail = place[0], f"{place[1]} starts from other values"
    elif evidence.checksum_differs:
        detail = "the weights start from other values"
    else:
        return None
    if evidence.data_step is not None and evidence.data_step == step:
        detail += "; the first batches differ too"
    return Divergence(
        step=step, kind=DivergenceKind.INITIAL_WEIGHTS, layer=layer, detail=f"{detail}."
    )


def _no_difference(evidence: Evidence) -> Divergence:
    if evidence.weights_known or evidence.batch_known:
        detail = f"equal in every recorded number up to step {evidence.last_step}."
        return Divergence(step=None, kind=DivergenceKind.NONE, layer=None, detail=detail)
    detail = "losses are equal where recorded; weights and batches were not."
    return Divergence(step=None, kind=DivergenceKind.UNKNOWN, layer=None, detail=detail)


def _cause(
    evidence: Evidence, step: int, tensors: TensorDifference | None
) -> tuple[DivergenceKind, str]:
    """What made equal weights on equal data part, or that they are not known to be equal."""
    same_gradients = tensors is not None and tensors.first("gradient") is None
    if evidence.lr_step == step:
        return DivergenceKind.OPTIMIZATION, "the learning rates differ."
    if same_gradients and evidence.curve_step != step:
        kind = (
            DivergenceKind.OPTIMIZATION
            if evidence.settings_differ
            else DivergenceKind.NONDETERMINISM
        )
        return kind, "the gradients are equal, the updates are not."
    if step == evidence.first_step and not evidence.weights_known:
        return DivergenceKind.UNKNOWN, "the initial weights were not sampled in both runs."
    if not evidence.batch_known:
        return DivergenceKind.UNKNOWN, "the batch of this step was not fingerprinted in both runs."
    if evidence.settings_differ:
        return DivergenceKind.OPTIMIZATION, "equal weights and batch, another loss or gradient."
    detail = "equal weights, batch and settings, another loss or gradient: not deterministic."
    return DivergenceKind.NONDETERMINISM, detail


def _evidence(
    session: Session,
    common: CommonSteps,
    runs: tuple[Run, Run],
    config: Sequence[ConfigChange],
) -> Evidence:
    start, last = int(common.steps[0]), int(common.steps[-1])
    same_start = all(int(rows.ints("step")[0]) == start for rows in (common.base, common.candidate))
    masks = _masks(common)
    steps = {name: common.first(mask) for name, mask in masks.items()}
    until = min([step for step in steps.values() if step is not None], default=last)
    tensors = bitwise.tensor_difference(session, *runs, since=start, until=until)
    hashed = common.both_have("n_batch")
    parted = any(step is not None for step in steps.values()) or tensors is not None
    place = np.searchsorted(common.steps, min(until, tensors.step if tensors else until))
    checksummed = bool(common.both_have("n_checksum")[0])
    return Evidence(
        first_step=start if same_start else None,
        last_step=last,
        other_parameter=_other_parameter(*(bitwise.parameter_shapes(session, r) for r in runs)),
        weights_known=checksummed or bitwise.weights_sampled_at(session, *runs, start),
        checksum_differs=same_start and bool(common.hash_differs("n_checksum", "checksum")[0]),
        data_step=steps["data"],
        curve_step=steps["curve"],
        lr_step=steps["lr"],
        tensors=tensors,
        batch_known=bool(hashed[place] if parted else hashed.any()),
        settings_differ=any(not is_repeat_key(change.key) for change in config),
    )


def _masks(common: CommonSteps) -> Mapping[str, Mask]:
    """Where data, curves and learning rates differ, over the common steps."""
    samples = common.floats("samples")
    return {
        "data": common.hash_differs("n_batch", "batch_low", "batch_high")
        | (np.abs(samples[0] - samples[1]) > 0),
        "curve": common.differs("n_loss", "loss_low", "loss_high")
        | common.differs("n_grad_norm", "grad_norm_low", "grad_norm_high"),
        "lr": common.differs("n_lr", "lr"),
    }


def _other_parameter(
    base: Mapping[str, tuple[str, str]], candidate: Mapping[str, tuple[str, str]]
) -> tuple[str, str] | None:
    """The first parameter, in order of depth, that the runs do not share in name and shape."""
    if not base or not candidate:
        return None
    for name, (layer, shape) in base.items():
        other = candidate.get(name)
        if other is None:
            return layer, f"{name} exists only in the base"
        if other[1] != shape:
            return layer, f"{name} has shape {shape} in the base and {other[1]} in the candidate"
    for name, (layer, _) in candidate.items():
        if name not in base:
            return layer, f"{name} exists only in the candidate"
    return None
