"""What every detector needs of a run, computed once: losses, progress, network, samples, tags."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import numpy as np

from telemetry.diagnose.evidence.network import MODULES_SQL, PARAMETERS_SQL, Network, network
from telemetry.diagnose.evidence.optimizers import (
    OPTIMIZERS_SQL,
    SHARED_LOSS_SQL,
    OptimizerInfo,
    optimizers,
)
from telemetry.diagnose.evidence.step_series import STEPS_SQL, StepSeries, step_series
from telemetry.diagnose.judgement.baselines import LOSS_INPUTS_SQL, baseline
from telemetry.diagnose.judgement.evaluations import EVALUATIONS_SQL, evaluated
from telemetry.diagnose.judgement.gates import sustained_width, usual, warm_in
from telemetry.diagnose.judgement.harm import Harm, Reach, reach
from telemetry.diagnose.judgement.improvement import BINS, IMPROVEMENT_SQL, Improvement, improvement
from telemetry.diagnose.judgement.loss_units import HUBER, SQUARED
from telemetry.diagnose.judgement.other_data import has_grown, targets_grow
from telemetry.diagnose.judgement.progress import Baseline, Progress, State, progress
from telemetry.diagnose.judgement.replayed_levels import LOSS_GRAPHS_SQL, joined, replayed
from telemetry.diagnose.judgement.robust import FloatArray, IntArray, median
from telemetry.diagnose.tags import UNJUDGED
from telemetry.store.sessions.rows import Rows, SqlValue

RECOVERED_SHARE = 0.25
NOTHING_LEFT_SHARE = 0.02  # of the level: no change of the training is worth making
ADVERSARIAL_NAME = re.compile(
    r"(?:^|[._])(?:net)?(?:disc|discriminator|critic|d)\d*$", re.IGNORECASE
)
GENERATOR_NAME = re.compile(r"(?:^|[._])(?:net)?(?:gen|generator|actor|g)\d*$", re.IGNORECASE)


class Need(StrEnum):
    """A column that a detector cannot do without."""

    LOSS = "steps.loss"
    GRADIENT = "layers.grad_norm"
    UPDATE = "layers.update_ratio"
    WEIGHT = "layers.weight_norm"
    DEAD = "activations.dead_share"
    SATURATED = "activations.saturated_share"
    EVALUATION = "metrics.value"

    @property
    def remedy(self) -> str:
        """What is missing in words, and how to get it."""
        return _REMEDIES[self]


# What many networks have none of, rather than what was not recorded.
ABSENT = frozenset({Need.DEAD, Need.SATURATED})
_REMEDIES = {
    Need.LOSS: "no loss was recorded; call telemetry.step(loss=loss)",
    Need.GRADIENT: "no unclipped gradient norm was recorded; pass the optimizer that the loop "
    "steps to TelemetryCallback and clip by norm instead of by value",
    Need.UPDATE: "no update was recorded; pass the optimizer that the loop steps",
    Need.WEIGHT: "no weight norm was recorded; pass the optimizer that the loop steps",
    Need.DEAD: "no ReLU-like activation was observed in training; record with activations=True",
    Need.SATURATED: "no tanh or sigmoid was observed in training",
    Need.EVALUATION: "no evaluation was logged; call telemetry.log(val_loss=...) after each",
}


class Querying(Protocol):
    """The part of a store session that judging uses."""

    def query(self, sql: str, parameters: Mapping[str, SqlValue]) -> Rows:
        """Rows of one SELECT over the views."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """One run as detectors see it.

    Attributes:
        losses: Finite and non-finite losses of the steps that have one, oldest first.
        loss_steps: Their steps.
        sampled_steps: Steps of full samples, ascending.
        sampling_period: Usual distance between them.
        warm_in: First step that statistical rules look at.
        outcome: Progress of the whole run.
        progress: Of a run that learned until its loss was no longer finite, that until then: what
            was odd before did not keep it from learning.
        harm: What was missed until then.
        reach: How far the whole run came.
        available: Columns that hold anything.
        contrary: What became better in a run whose loss did not.
        finished: The run came to its own end: nothing more will be trained.
    """

    run: str
    tags: frozenset[str]
    total_steps: int | None
    steps: StepSeries
    losses: FloatArray
    loss_steps: IntArray
    sampled_steps: IntArray
    sampling_period: int
    warm_in: int
    network: Network
    baseline: Baseline
    progress: Progress
    harm: Harm
    outcome: Progress
    reach: Reach
    optimizers: tuple[OptimizerInfo, ...]
    available: frozenset[Need]
    contrary: Improvement | None = None
    finished: bool = False

    @property
    def state(self) -> State:
        """Of the whole run."""
        return self.outcome.state

    @property
    def n_steps(self) -> int:
        """Optimizer steps recorded."""
        return int(self.steps.step.size)

    @property
    def last_step(self) -> int:
        """The last recorded step; -1 without any."""
        return int(self.steps.step.max(initial=-1))

    @property
    def batch_size(self) -> float:
        """Usual samples of a step; 16 when unknown, so that single steps count."""
        return usual(self.steps.samples, 16.0)

    @property
    def is_adaptive(self) -> bool:
        """Every optimizer's step size is independent of the gradient's."""
        return bool(self.optimizers) and all(o.is_adaptive for o in self.optimizers)

    @property
    def shrinks_steps(self) -> bool:
        """Every optimizer divides by the sum of all squares: step t is shorter by 1 / sqrt(t)."""
        return bool(self.optimizers) and all(o.name == "Adagrad" for o in self.optimizers)

    @property
    def first_loss(self) -> float:
        """Loss before the first update; NaN when there is none."""
        return float(self.losses[0]) if self.losses.size else float("nan")

    @property
    def loss_reference(self) -> float:
        """Level that an excursion is measured from: the first loss, or the naive one if higher.

        Where no level is known and batches are small, the first loss is one sample's: the median
        of the first few is taken.
        """
        width = sustained_width(self.batch_size)
        if self.baseline.naive is None and width > sustained_width(np.inf):
            return max(self.first_loss, median(self.losses[:width]))
        return float(np.fmax(self.first_loss, self.baseline.naive or np.nan))

    @property
    def recovered(self) -> bool:
        """The run ended at a quarter of what knowing nothing costs, or of its own start.

        Whatever it did at first, it did no lasting harm. A loss that is lost in the end is no end.
        """
        if not self.progress.improving or self.state is State.DIVERGED:
            return False
        if self.baseline.naive is None:
            return self.progress.r >= 1 - RECOVERED_SHARE
        return self.progress.end <= RECOVERED_SHARE * self.baseline.naive

    @property
    def learned_all(self) -> bool:
        """A fiftieth of what there was to gain is left, on training data or on an evaluation.

        Where no level is known, a fiftieth of the first losses.
        """
        if not self.outcome.improving:
            return False
        shares = np.array([self.reach.gained, self.reach.evaluated])
        known = shares[np.isfinite(shares)]
        most = float(known.max()) if known.size else self.outcome.r
        return most >= 1 - NOTHING_LEFT_SHARE

    @property
    def stuck(self) -> bool:
        """The loss fails, or has stopped to fall above a fiftieth of what knowing nothing costs."""
        if not self.progress.measurable:
            return False
        level = self.baseline.naive or self.progress.start
        left = self.progress.end > NOTHING_LEFT_SHARE * level
        return self.progress.failing or (self.progress.flat and left)

    def lr_at(self, step: int) -> float:
        """Learning rate of a step; NaN when unknown."""
        place = np.flatnonzero(self.steps.step == step)
        return float(self.steps.lr[place[0]]) if place.size else float("nan")


AVAILABLE_SQL = """
SELECT
    p.kind AS what,
    SUM(
        CASE WHEN p.n_sampled > 0 AND (p.kind <> 'gradient' OR p.scale > 0) THEN 1 ELSE 0 END
    ) AS n_values
FROM tensor_points AS p
WHERE p.run = $run
GROUP BY p.kind
UNION ALL
SELECT
    'dead' AS what,
    COUNT(a.dead_share) AS n_values
FROM activations AS a
WHERE a.run = $run
    AND a.phase = 'train'
UNION ALL
SELECT
    'saturated' AS what,
    COUNT(a.saturated_share) AS n_values
FROM activations AS a
WHERE a.run = $run
    AND a.phase = 'train'
UNION ALL
SELECT
    'evaluation' AS what,
    COUNT(m.value) AS n_values
FROM metrics AS m
WHERE m.run = $run
    AND m.phase = 'eval'
ORDER BY what
"""
_NEED_OF = {
    "gradient": Need.GRADIENT,
    "update": Need.UPDATE,
    "weight": Need.WEIGHT,
    "dead": Need.DEAD,
    "saturated": Need.SATURATED,
    "evaluation": Need.EVALUATION,
}


def load_context(
    session: Querying,
    run: str,
    *,
    tags: Sequence[str] = (),
    total_steps: int | None = None,
    finished: bool = False,
) -> RunContext:
    """Read what detectors share.

    Args:
        session: An open session over the run.
        run: Id of the run.
        tags: Its tags.
        total_steps: Planned optimizer steps.
        finished: Nothing more will be trained.
    """
    only = {"run": run}
    step_rows = session.query(STEPS_SQL, only)
    steps = step_series(step_rows)
    net = network(session.query(PARAMETERS_SQL, only), session.query(MODULES_SQL, only), tags=tags)
    attached = optimizers(session.query(OPTIMIZERS_SQL, only))
    head = net.matrices[-1].layer if net.matrices else ""
    inputs = session.query(LOSS_INPUTS_SQL, {**only, "head": head})
    labels = frozenset(tag.lower() for tag in tags)
    losses, loss_steps = steps.loss[steps.has_loss], steps.step[steps.has_loss]
    calls = step_rows.floats("backward_calls")
    called = calls[steps.has_loss]
    followed = replayed(session.query(LOSS_GRAPHS_SQL, only), loss_steps, losses, called)
    levels = baseline(inputs, loss_steps, losses, steps.samples[steps.has_loss], called)
    levels = joined(levels, followed)
    sampled = steps.step[steps.has_flag_sampled]
    adversarial = _adversarial(attached, usual(calls, 1.0), net) or bool(
        session.query(SHARED_LOSS_SQL, only).texts("kind")
    )
    judged = functools.partial(
        _judged_progress, levels=levels, tags=labels, adversarial=adversarial
    )
    whole = judged(losses)
    if whole.failing and np.isfinite(whole.end):
        changed = _changed(steps.samples[steps.has_loss], inputs)
        whole = _unknown(whole, changed) if changed else whole
    contrary = None
    if not whole.improving and np.isfinite(whole.end):
        metrics = session.query(IMPROVEMENT_SQL, {**only, "bins": BINS})
        contrary = improvement(metrics, first_loss=float(losses[0]), levels=levels)
        unlike = contrary is not None and (levels.naive is None or contrary.is_part)
        if contrary is not None and unlike and whole.measurable:
            whole = _unknown(whole, f"{contrary.words}: the loss does not measure progress")
    before = _until_lost(losses, whole, judged)
    grade = functools.partial(
        reach,
        levels=levels,
        evaluations=evaluated(session.query(EVALUATIONS_SQL, only)),
        first_loss=float(losses[0]) if losses.size else float("nan"),
        n_steps=int(losses.size),
        ended=finished,
    )
    return RunContext(
        run=run,
        tags=labels,
        total_steps=total_steps,
        steps=steps,
        losses=losses,
        loss_steps=loss_steps,
        sampled_steps=sampled,
        sampling_period=int(np.median(np.diff(sampled))) if sampled.size > 1 else 1,
        warm_in=warm_in(total_steps),
        network=net,
        baseline=levels,
        progress=before,
        harm=grade(before).harm,
        contrary=contrary,
        outcome=whole,
        reach=grade(whole),
        finished=finished,
        optimizers=attached,
        available=_available(session, only, has_loss=bool(losses.size)),
    )


def _judged_progress(
    losses: FloatArray, levels: Baseline, *, tags: frozenset[str], adversarial: bool
) -> Progress:
    """Progress, or `unknown` where the loss is not what is minimised over the run."""
    found = progress(losses, levels)
    if found.state is State.DIVERGED and not np.isfinite(found.end):
        return found
    unjudged = sorted(tags & UNJUDGED)
    if unjudged:
        return _unknown(found, f"tag {unjudged[0]} says that the loss does not measure progress")
    if adversarial and found.state in {State.STALLED, State.DIVERGED}:
        return _unknown(found, "models or optimizers have their own losses: perhaps adversaries")
    return found


def _changed(samples: FloatArray, inputs: Rows) -> str:
    """Why the losses at the end are of something else than those at the start; else empty."""
    if has_grown(samples):
        return "steps run more forward passes than at the start, so their losses cannot be compared"
    ops = np.array(inputs.texts("loss_op"))
    read = (np.array(inputs.texts("site")) == "target") & np.isin(ops, list(SQUARED | HUBER))
    sizes = np.sqrt(inputs.floats("sumsq")[read] / np.fmax(1.0, inputs.floats("n")[read]))
    if targets_grow(sizes):
        return "the targets grow: either the model makes them itself, or they follow a trend"
    return ""


def _until_lost(
    losses: FloatArray, whole: Progress, judged: Callable[[FloatArray], Progress]
) -> Progress:
    """Progress before the loss stopped being finite, if the run was learning then."""
    if whole.state is not State.DIVERGED or np.isfinite(whole.end):
        return whole
    finite = np.flatnonzero(np.isfinite(losses))
    before = judged(losses[: finite[-1] + 1] if finite.size else losses[:0])
    return before if before.improving else whole


def _unknown(found: Progress, reason: str) -> Progress:
    return replace(found, state=State.UNKNOWN, measurable=False, reason=reason)


def _adversarial(optimizers: Sequence[OptimizerInfo], backward_calls: float, net: Network) -> bool:
    """Several optimizers and several backward passes a step, or modules named as adversaries.

    Two optimizers for one loss (one for matrices, one for the rest) have one backward pass.
    """
    if len(optimizers) > 1 and backward_calls > 1:
        return True
    paths = [module.path for module in net.modules]
    return any(ADVERSARIAL_NAME.search(path) for path in paths) and any(
        GENERATOR_NAME.search(path) for path in paths
    )


def _available(
    session: Querying, only: Mapping[str, SqlValue], *, has_loss: bool
) -> frozenset[Need]:
    rows = session.query(AVAILABLE_SQL, only)
    counts = zip(rows.texts("what"), rows.floats("n_values"), strict=True)
    found = {_NEED_OF[what] for what, count in counts if count > 0 and what in _NEED_OF}
    return frozenset(found | ({Need.LOSS} if has_loss else set()))
