"""Results as the library returns them, with fixed numbers: what the screens are drawn from."""

import math
from collections.abc import Sequence
from dataclasses import replace

from telemetry.compare.curves.trends import Trend
from telemetry.compare.diff.result import CostChange, Diff, LayerChange, MetricChange, Quantity
from telemetry.compare.divergence.cause import Divergence
from telemetry.compare.settings.config_changes import ConfigChange
from telemetry.compare.settings.labels import RunLabels
from telemetry.compare.sweep.result import (
    Condition,
    Configuration,
    CurvePoint,
    Failure,
    Interaction,
    Method,
    Parameter,
    Relation,
    Step,
    Suggestion,
    Sweep,
    SweepRun,
)
from telemetry.compare.terms import Direction, DirectionSource, DivergenceKind, Verdict
from telemetry.diagnose.finding import Diagnosis, Finding, NotChecked, Severity
from telemetry.store.runs.run import Run

ROOT = Finding(
    detector="learning_rate_too_high",
    severity=Severity.ERROR,
    layer="net.2",
    layers=("net.2", "net.0", "net.4"),
    first_step=40,
    last_step=69,
    value=6.2,
    threshold=4.0,
    unit="× start",
    message="the loss reached 6.2× its start at step 44 (limit 4) at a learning rate of 0.1; the "
    "bias of net.2 moved by -1.9 within 30 steps",
    advice="Divide the peak learning rate by 10, or warm up over at least 200 steps.",
    evidence={"query": "SELECT * FROM layers WHERE step < 70", "ratio": 6.2},
)
CONSEQUENCES = (
    Finding(
        detector="dead_units",
        severity=Severity.WARNING,
        layer="net.4",
        layers=("net.4",),
        first_step=50,
        last_step=69,
        value=0.8,
        threshold=0.75,
        unit="share",
        message="80 % of 32 units never fired in 200 samples",
        advice="Lower the learning rate.",
        consequence_of="learning_rate_too_high",
    ),
    Finding(
        detector="non_finite",
        severity=Severity.ERROR,
        first_step=60,
        message="the loss is not finite at step 60",
        advice="Look at the cause.",
        consequence_of="learning_rate_too_high",
    ),
)
DIAGNOSIS = Diagnosis(
    findings=(ROOT, *CONSEQUENCES),
    passed=("loss_spike", "unchanged_parameters"),
    not_checked=(
        NotChecked(detector="overfitting", reason="no evaluation was logged"),
        NotChecked(detector="saturated_units", reason="no tanh or sigmoid was observed"),
        NotChecked(detector="vanishing_gradient", reason="no tanh or sigmoid was observed"),
    ),
    state="diverged",
    n_steps=10_070,
    n_samples=1_204,
)
HEALTHY = Diagnosis(
    findings=(),
    passed=("dead_units", "loss_spike"),
    not_checked=(),
    state="learning",
    n_steps=200,
    n_samples=10,
)


def diff_of(base: Sequence[Run], candidate: Sequence[Run], verdict: Verdict) -> Diff:
    """A comparison with something in every part of it."""
    return Diff(
        base=tuple(map(RunLabels.of, base)),
        candidate=tuple(map(RunLabels.of, candidate)),
        verdict=verdict,
        reason="val_loss +7.1 % (95 % interval +3.0 % to +11.2 %, 3 runs against 3): beyond the "
        "margin of 1 %.",
        margin=0.01,
        metrics=(
            replace(
                _metric("val_loss", Direction.LOWER, 0.3222, 0.3451, (0.071, 0.03, 0.112), verdict),
                trend=course(),
            ),
            _metric("val_accuracy", Direction.HIGHER, 0.95, 0.951, (0.001, -0.004, 0.006)),
            _metric("score", Direction.HIGHER, 1.0, 2.0, (1.0, 0.9, 1.1), Verdict.IMPROVEMENT),
            _metric("rare", Direction.LOWER, 0.0, 0.1, (float("nan"),) * 3, Verdict.INCONCLUSIVE),
        ),
        config=(
            ConfigChange(key="lr", base=0.0006, candidate=0.001),
            ConfigChange(key="warmup", base=None, candidate=200),
            ConfigChange(key="recorded.optimizer.lr", base=0.0006, candidate=0.001),
            ConfigChange(key="recorded.optimizer.eps", base=1e-8, candidate=1e-6),
            ConfigChange(key="recorded.model.net.1", base="ReLU()", candidate="GELU()"),
            ConfigChange(key="environment.git_dirty", base=False, candidate=True),
            ConfigChange(key="environment.packages.numpy", base="1.26.4", candidate="2.1.0"),
        ),
        layers=(
            LayerChange(
                layer="net.2", statistic="grad_norm", log2_ratio=1.26, noise=0.2, first_step=40
            ),
            *(
                LayerChange(
                    layer=f"net.{index}",
                    statistic="update_ratio",
                    log2_ratio=-7.0,
                    noise=0.25,
                    first_step=None,
                )
                for index in range(11)
            ),
        ),
        new_findings=(ROOT,),
        fixed_findings=(),
        first_divergence=Divergence(
            step=40, kind=DivergenceKind.DATA, layer=None, detail="batch hashes differ"
        ),
        costs=(
            _cost("step_s", Direction.LOWER, 0.151, 0.204, (0.351, 0.33, 0.36), verdict),
            _cost("samples_per_s", Direction.HIGHER, 424.0, 314.0, (-0.259, -0.27, -0.25), verdict),
            _cost("data_s", Direction.LOWER, 0.0, 0.003, (0.02, 0.01, 0.03)),
            _cost("peak_memory_bytes", Direction.LOWER, 1.2e9, 1.3e9, (0.083, 0.05, 0.12)),
        ),
        warnings=("the candidate ends earlier.",),
    )


def _cost(
    name: str,
    direction: Direction,
    base: float,
    candidate: float,
    change: tuple[float, float, float],
    verdict: Verdict = Verdict.NO_CHANGE,
) -> CostChange:
    return CostChange(
        name=name,
        direction=direction,
        base=base,
        candidate=candidate,
        change=change[0],
        ci_low=change[1],
        ci_high=change[2],
        verdict=verdict,
    )


def course() -> Trend:
    """A loss that falls on both sides, in the candidate more slowly at the end."""
    base = tuple(round(0.32 + 2 * math.exp(-i / 6), 4) for i in range(40))
    late = (0.003 * max(0, i - 20) for i in range(40))
    return Trend(
        first=0,
        last=199,
        base=base,
        candidate=tuple(round(value + more, 4) for value, more in zip(base, late, strict=True)),
    )


def _metric(
    name: str,
    direction: Direction,
    base: float,
    candidate: float,
    change: tuple[float, float, float],
    verdict: Verdict = Verdict.NO_CHANGE,
) -> MetricChange:
    return MetricChange(
        name=name,
        direction=direction,
        base=base,
        candidate=candidate,
        change=change[0],
        ci_low=change[1],
        ci_high=change[2],
        verdict=verdict,
        reason="",
        direction_from=DirectionSource.ASSUMED if name == "rare" else DirectionSource.NAME,
        best=Quantity(base=base, candidate=candidate, change=0.06, ci_low=0.02, ci_high=0.1),
        area=Quantity(base=2.5 * base, candidate=2.5 * candidate, change=0.05),
        p=0.004,
        effect_size=2.91,
        detectable=0.041,
        n_base=3,
        n_candidate=3,
    )


def sweep_of(runs: Sequence[Run]) -> Sweep:
    """A sweep over two parameters with a failure rule; the last run has no value."""
    entries = [
        SweepRun(
            run=run,
            parameters={"lr": 10.0**-index, "width": 16 * (index + 1)},
            value=None if index == len(runs) - 1 else 0.3 + index,
            diverged=index == len(runs) - 2,
            cut_short=index == 1,
            seconds=60.0 * (len(runs) - index),
            n_parameters=1_000 * (index + 1),
            on_front=index < 2,
        )
        for index, run in enumerate(runs)
    ]
    return Sweep(
        metric="val_loss",
        goal=Direction.LOWER,
        runs=tuple(entries),
        parameters=(
            Parameter(
                name="lr",
                importance=0.61,
                ci_low=0.48,
                ci_high=0.72,
                important=True,
                best="0.01 .. 0.1",
                effect=tuple(
                    CurvePoint(
                        value=value,
                        median=median,
                        low=median - 0.1,
                        high=median + 0.1,
                        runs=4,
                        diverged=4 if value == "1" else 0,
                    )
                    for value, median in (
                        ("0.001", 1.0),
                        ("0.01", 0.4),
                        ("0.1", 0.3),
                        ("1", float("nan")),
                    )
                ),
            ),
            Parameter(
                name="width",
                importance=0.05,
                ci_low=0.0,
                ci_high=0.13,
                important=False,
                best="not separable",
            ),
        ),
        failures=(
            Failure(
                detector="exploding_gradient",
                conditions=(Condition(parameter="lr", relation=Relation.AT_LEAST, value=0.1),),
                matching_runs=4,
                rule_runs=4,
                failed_runs=5,
            ),
            Failure(
                detector="dead_units", conditions=(), matching_runs=1, rule_runs=6, failed_runs=1
            ),
        ),
        interactions=(Interaction(first="lr", second="width", share=0.12),),
        suggestions=(
            Suggestion(
                parameter="lr",
                step=Step.NARROW,
                range="0.001 .. 0.01",
                reason=(
                    "the best runs are at 0.01 .. 0.1; exploding_gradient occurs in 4 of 4 runs "
                    "with >= 0.1."
                ),
            ),
        ),
        method=Method.FOREST,
        warnings=("6 runs are few for 2 parameters.",),
        seed_noise=0.008,
    )


def folds_of(runs: Sequence[Run]) -> Sweep:
    """The same with two configurations behind the runs; one lacks a fold."""
    ids = tuple(run.run for run in runs)
    best = Configuration(
        parameters={"lr": 0.1, "width": 32},
        runs=ids[:3],
        folds=5,
        mean=0.3,
        ci_low=0.28,
        ci_high=0.32,
        worst=0.33,
        behind=0.0,
        behind_low=0.0,
        behind_high=0.0,
    )
    other = Configuration(
        parameters={"lr": 0.01, "width": 32},
        runs=ids[3:],
        folds=4,
        mean=0.35,
        ci_low=0.25,
        ci_high=0.45,
        worst=0.5,
        behind=0.05,
        behind_low=-0.02,
        behind_high=0.12,
        missing=("4.0",),
    )
    return replace(sweep_of(runs), configurations=(best, other))
