"""The first step at which two runs part: what is known of it, from their rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from telemetry.compare.divergence import bitwise, sampled_bits
from telemetry.compare.divergence.bitwise import CommonSteps, Mask
from telemetry.compare.divergence.cause import Divergence, Evidence, judge_divergence
from telemetry.compare.divergence.data_changes import data_difference
from telemetry.compare.divergence.trained_parameters import steps_of_other_parameters, trained
from telemetry.compare.settings.changed import Sort, by_sort, same_code
from telemetry.compare.settings.config_changes import ConfigChange, settings
from telemetry.compare.terms import DivergenceKind
from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session


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
    found = judge_divergence(_evidence(session, common, (base, candidate), config))
    return replace(found, base=base.run, candidate=candidate.run)


def _evidence(
    session: Session,
    common: CommonSteps,
    runs: tuple[Run, Run],
    config: Sequence[ConfigChange],
) -> Evidence:
    start, last = int(common.steps[0]), int(common.steps[-1])
    same_start = all(int(rows.ints("step")[0]) == start for rows in (common.base, common.candidate))
    others = steps_of_other_parameters(session, *runs)
    masks = _masks(common, ~np.isin(common.steps, others))
    step = _first_step(session, common, masks, runs)
    at = start if step is None else step
    place = int(np.searchsorted(common.steps, at))
    differs = frozenset(name for name, mask in masks.items() if step is not None and mask[place])
    hashed, changed = common.both_have("n_batch"), by_sort(config)
    first = sampled_bits.sampled_step(session, *runs, start)
    shapes = [sampled_bits.parameter_shapes(session, run) for run in runs]
    return Evidence(
        first_step=start if same_start else None,
        last_step=last,
        step=step,
        equal_until=None if step is None else common.before(step),
        other_parameter=_other_parameter(shapes[0], shapes[1]),
        weights_known=bool(common.both_have("n_checksum")[0] and start not in others)
        or "weight" in first.recorded,
        checksum_differs=same_start and bool(masks["checksum"][0]),
        differs=differs,
        trained=trained(session, *runs, at, [name for name in shapes[0] if name in shapes[1]]),
        sampled=first if at == start else sampled_bits.sampled_step(session, *runs, at),
        batch_known=bool(hashed.any() if step is None else hashed[place]),
        magnitude=_magnitude(common, differs, at),
        half_precision=sampled_bits.has_half_precision(session, runs[0]),
        data=data_difference(session, common, runs, at, changed[Sort.DATA])
        if "data" in differs
        else "",
        changed=changed,
        same_code=same_code(*(settings(run) for run in runs)),
    )


def _first_step(
    session: Session, common: CommonSteps, masks: Mapping[str, Mask], runs: tuple[Run, Run]
) -> int | None:
    found = [step for mask in masks.values() if (step := common.first(mask)) is not None]
    start, until = int(common.steps[0]), min(found, default=int(common.steps[-1]))
    sampled = sampled_bits.first_difference(session, *runs, since=start, until=until)
    return min([*found, *([] if sampled is None else [sampled])], default=None)


def _masks(common: CommonSteps, same_parameters: Mask) -> Mapping[str, Mask]:
    """Where data, curves, learning rates and weights differ, over the common steps.

    Args:
        common: Rows of both runs.
        same_parameters: Where both checksums are over the same parameters.
    """
    samples = common.floats("samples")
    return {
        "data": common.hash_differs("n_batch", "batch_low", "batch_high")
        | (np.abs(samples[0] - samples[1]) > 0),
        "loss": common.differs("n_loss", "loss_low", "loss_high"),
        "grad_norm": common.differs("n_grad_norm", "grad_norm_low", "grad_norm_high"),
        "lr": common.differs("n_lr", "lr"),
        "checksum": common.hash_differs("n_checksum", "checksum") & same_parameters,
    }


def _magnitude(common: CommonSteps, differs: frozenset[str], step: int) -> float:
    for name, column in (("loss", "loss_high"), ("grad_norm", "grad_norm_high")):
        if name in differs:
            return common.relative_difference(step, column)
    return float("nan")


def _other_parameter(
    base: Mapping[str, tuple[str, str]], candidate: Mapping[str, tuple[str, str]]
) -> tuple[str, str] | None:
    """The first parameter, in order of execution, that the runs do not share in name and shape."""
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
