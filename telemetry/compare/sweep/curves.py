"""The one metric of a sweep: which it is, and each run's value and curve."""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.metric_names import LOSS, by_importance
from telemetry.compare.sweep.facts import Facts, Key
from telemetry.compare.terms import Direction
from telemetry.errors import Inconclusive, UsageError

COMMON_SHARE = 0.5  # of the runs that have the commonest metric; rarer ones are not chosen unasked


class MetricSource(StrEnum):
    """On what a metric was measured."""

    EVALUATION = "evaluation"
    TRAINING = "training"
    TRAINING_ALONE = "training alone"  # no run recorded an evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCurves:
    """The metric and each run's curve of it, by project and id of the run.

    `losses` has the training loss that each run ended with (`telemetry.format.run_loss`), where it
    is the metric, and of the runs whose loss was not always finite. `n_parameters` counts the
    trainable ones, shared weights once, where they were recorded.
    """

    metric: str
    source: MetricSource
    values: Mapping[Key, Series]
    losses: Mapping[Key, float]
    n_parameters: Mapping[Key, int]

    @property
    def best_counts(self) -> bool:
        """Whether a run counts with its best value; else with its final one."""
        return self.metric != LOSS

    def diverged(self, run: Key) -> bool:
        """Whether the loss or the metric of a run ended in values that are not finite."""
        curve = self.values.get(run) if self.best_counts else None
        ended_so = curve is not None and math.isnan(curve.final())
        return ended_so or not math.isfinite(self.losses.get(run, 0.0))

    def value(self, run: Key, goal: Direction) -> float | None:
        """What ranks a run: the best of a logged metric, the training loss that it ended with.

        The best, because a checkpoint of it can be kept; the loss of single batches is too noisy
        for its best to mean anything.
        """
        curve = self.values.get(run)
        if curve is None:
            return None
        value = curve.best(goal) if self.best_counts else self.losses.get(run, curve.final())
        return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The metric; `from_steps`: the loss of the steps, not a logged one of that name."""

    metric: str
    from_steps: bool

    def lacks_curve(self, facts: Facts) -> bool:
        """Whether a run has a curve of the metric that was not read yet."""
        if self.from_steps:
            return facts.n_broken is not None and facts.losses is None
        return self.metric in facts.metrics and self.metric not in facts.curves

    def lacks_end(self, facts: Facts) -> bool:
        """Whether it matters how the loss of a run ended, and that was not read yet."""
        if facts.n_broken is None or facts.end is not None:
            return False
        return self.from_steps or facts.n_broken > 0


def choose(facts: Collection[Facts], metric: str | None) -> Choice:
    """The metric asked for, or the one that decides by its name.

    Raises:
        UsageError: no run recorded the metric.
        Inconclusive: the runs recorded neither a loss nor an evaluation.
    """
    counts = Counter(name for one in facts for name in one.metrics)
    evaluated = {name for one in facts for name, in_one in one.metrics.items() if in_one}
    n_losses = sum(one.n_broken is not None for one in facts)
    if n_losses:
        counts[LOSS] = n_losses
        evaluated.add(LOSS)
    if metric is not None:
        if metric not in counts:
            known = ", ".join(by_importance(counts)) or "nothing"
            raise UsageError(f"no run recorded metric {metric!r}; recorded: {known}.")
        return Choice(metric=metric, from_steps=metric == LOSS and n_losses > 0)
    offered = {name: n for name, n in counts.items() if name in evaluated}
    if not offered:
        raise Inconclusive(
            "the runs recorded neither a loss nor an evaluation; call telemetry.step(loss=loss) "
            "or telemetry.log(val_loss=...)."
        )
    most = max(offered.values())
    chosen = by_importance(name for name, n in offered.items() if n >= COMMON_SHARE * most)[0]
    return Choice(metric=chosen, from_steps=chosen == LOSS and n_losses > 0)


def curves_of(facts: Mapping[Key, Facts], choice: Choice) -> SweepCurves:
    """The curves of the chosen metric.

    How a loss ended counts where it is the metric or where any value is not finite: whether a run
    ended so is all that is asked of it otherwise.
    """
    curves = {
        key: one.losses if choice.from_steps else one.curves.get(choice.metric)
        for key, one in facts.items()
    }
    return SweepCurves(
        metric=choice.metric,
        source=_source(facts.values(), choice),
        values={key: curve for key, curve in curves.items() if curve is not None},
        losses={
            key: one.end
            for key, one in facts.items()
            if one.end is not None and (choice.from_steps or one.n_broken)
        },
        n_parameters={
            key: one.n_parameters for key, one in facts.items() if one.n_parameters is not None
        },
    )


def _source(facts: Collection[Facts], choice: Choice) -> MetricSource:
    evaluated = {name for one in facts for name, in_one in one.metrics.items() if in_one}
    if choice.metric in evaluated and not choice.from_steps:
        return MetricSource.EVALUATION
    return MetricSource.TRAINING if evaluated else MetricSource.TRAINING_ALONE
