"""Compares two runs, or two groups: is the candidate worse, where did they part, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from telemetry.compare.curves.axes import in_units
from telemetry.compare.curves.metric_names import by_importance, direction_of, direction_source
from telemetry.compare.curves.trends import Trend, trend
from telemetry.compare.diff.baseline import Baseline, parted_at_kept_steps, rules_of
from telemetry.compare.diff.compared_run import Side
from telemetry.compare.diff.cost_changes import cost_changes
from telemetry.compare.diff.finding_changes import finding_changes
from telemetry.compare.diff.layer_changes import LayerComparison, compare_layers
from telemetry.compare.diff.measure import MetricQuestion, corrected, measure
from telemetry.compare.diff.read_side import read_side
from telemetry.compare.diff.result import Diff, MetricChange, Trainings
from telemetry.compare.diff.side_checks import (
    alike,
    as_runs,
    check_sides,
    metric_curves,
    side_warnings,
    without_twins,
)
from telemetry.compare.divergence.cause import Divergence
from telemetry.compare.divergence.divergence import first_divergence
from telemetry.compare.settings.config_changes import ConfigChange, config_changes
from telemetry.compare.terms import Axis, Direction, DirectionSource, Verdict
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.errors import UsageError
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

DEFAULT_MARGIN = 0.01  # relative change that matters in practice
NO_METRIC = (
    "the runs have no metric in common; call telemetry.step(loss=loss) or telemetry.log(...) in "
    "both."
)
OTHER_RULES = (
    "{path} was written with other diagnosis rules or settings: findings may be new or fixed "
    "for that reason alone; export the baseline again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What is asked of a comparison; fields as the arguments of `diff_runs`."""

    metrics: Sequence[str] | None = None
    margin: float = DEFAULT_MARGIN
    directions: Mapping[str, Direction] | None = None
    axis: Axis = Axis.STEP


def diff_runs(  # noqa: PLR0913 - each keyword is one criterion
    store: Store,
    base: Run | Sequence[Run] | Baseline,
    candidate: Run | Sequence[Run],
    *,
    metrics: Sequence[str] | None = None,
    margin: float = DEFAULT_MARGIN,
    directions: Mapping[str, Direction] | None = None,
    axis: Axis = Axis.STEP,
    policy: Policy = DEFAULT_POLICY,
) -> Diff:
    """Is the candidate worse than the base?

    The first metric decides: the user's first, else a validation loss, a validation accuracy,
    another evaluated metric, the training loss. Several runs on a side are seeds, and the interval
    is taken over them; one run against one is judged with an allowance for the seed. A side most of
    whose runs end in values that are not finite is the worse one.

    Args:
        store: Where the runs lie.
        base: One run, the seeds of one configuration, or the file that keeps them.
        candidate: The same, to be judged.
        metrics: Names to compare instead of the loss and all evaluated metrics; also `step_s`.
        margin: Relative change of a metric that matters in practice.
        directions: Which way of a metric is better, where its name does not tell.
        axis: What places the values of two runs beside each other; other than steps where a step
            does not mean the same in both, as with another batch size.
        policy: How the runs are diagnosed, as for `diagnose_run`.

    Raises:
        UsageError: no run, the same run twice, a metric that one side lacks, an axis that a run did
            not record, or a negative margin.
        Inconclusive: a run recorded neither a loss nor an evaluation.
    """
    if not margin >= 0:
        raise UsageError(f"margin {margin} is not a share of at least 0; write 0.01 for 1 %.")
    asked = Criteria(metrics=metrics, margin=margin, directions=directions, axis=axis)
    if isinstance(base, Baseline):
        return _against_file(store, base, as_runs(candidate), asked, policy)
    left, right = as_runs(base), as_runs(candidate)
    check_sides(left, right)
    with store.session([*left, *right]) as session:
        sides = [read_side(store, session, runs, metrics or (), policy) for runs in (left, right)]
        places = alike(sides[0], sides[1])
        pair = [(side[place],) for side, place in zip(sides, places, strict=True)]
        divergence = first_divergence(
            session, left[places[0]], right[places[1]], changed_settings(pair[0], pair[1])
        )
    return diff_summaries(sides[0], sides[1], asked, divergence)


def _against_file(
    store: Store, base: Baseline, runs: Sequence[Run], asked: Criteria, policy: Policy
) -> Diff:
    check_sides(None, runs)
    base.check_metrics(asked.metrics or ())
    with store.session(runs) as session:
        side = read_side(store, session, runs, asked.metrics or (), policy)
    alike = base.seen_alike(side)
    found = diff_summaries(base.runs, alike, asked, parted_at_kept_steps(base.runs[0], alike[0]))
    warnings = found.warnings
    if (found.new_findings or found.fixed_findings) and base.rules != rules_of(policy):
        warnings = (*warnings, OTHER_RULES.format(path=base.path))
    return replace(found, baseline_file=str(base.path), warnings=warnings)


def diff_summaries(base: Side, candidate: Side, criteria: Criteria, divergence: Divergence) -> Diff:
    """As `diff_runs`, of what has been read; pure.

    Args:
        base: The runs to compare with.
        candidate: The runs to be judged.
        criteria: What is asked.
        divergence: Where the first runs of both sides part.

    Raises:
        UsageError: a requested metric is not recorded in both.
    """
    axis = criteria.axis
    base, candidate = (tuple(one.along(axis) for one in side) for side in (base, candidate))
    questions = _questions(base, candidate, criteria)
    changes, twins = _measured(questions, base, candidate)
    metrics = [replace(c, trend=_trend(base, candidate, c.name, axis)) for c in changes]
    layers = compare_layers(*([member.layers for member in side] for side in (base, candidate)))
    new, fixed = finding_changes(
        *([member.findings for member in side] for side in (base, candidate))
    )
    return Diff(
        base=tuple(member.labels for member in base),
        candidate=tuple(member.labels for member in candidate),
        verdict=changes[0].verdict if changes else Verdict.INCONCLUSIVE,
        reason=changes[0].reason if changes else NO_METRIC,
        margin=criteria.margin,
        axis=axis,
        metrics=tuple(metrics),
        config=changed_settings(base, candidate),
        trained=Trainings(base=base[0].trained, candidate=candidate[0].trained),
        layers=layers.changes,
        new_findings=new,
        fixed_findings=fixed,
        first_divergence=divergence,
        costs=cost_changes(*([member.costs for member in side] for side in (base, candidate))),
        warnings=(*twins, *_warnings((base, candidate), changes, layers, axis)),
    )


def changed_settings(base: Side, candidate: Side) -> tuple[ConfigChange, ...]:
    """The settings in which two sides differ."""
    return config_changes(*([member.settings for member in side] for side in (base, candidate)))


def _warnings(
    sides: Sequence[Side], changes: Sequence[MetricChange], layers: LayerComparison, axis: Axis
) -> Iterator[str]:
    deciding = changes[0].name if changes else None
    yield from side_warnings(sides[0], sides[1], deciding, axis)
    yield from _one_sided(sides)
    yield from _guessed(changes[:1])
    yield from _regressed_besides(changes)
    yield from _layer_warnings(layers)


def _questions(base: Side, candidate: Side, criteria: Criteria) -> list[MetricQuestion]:
    """The metrics to compare, the deciding one first."""
    names = [{name for member in side for name in member.curves} for side in (base, candidate)]
    common = by_importance(names[0] & names[1])
    for name in criteria.metrics or ():
        for where, known in zip(("base", "candidate"), names, strict=True):
            if name not in known:
                raise UsageError(
                    f"metric {name!r} is not recorded in the {where}; metrics in both: "
                    f"{', '.join(common) or 'none'}."
                )
    chosen = list(dict.fromkeys(criteria.metrics)) if criteria.metrics else common
    return [
        MetricQuestion(
            name=name,
            direction=direction_of(name, criteria.directions),
            direction_from=direction_source(name, criteria.directions),
            margin=criteria.margin,
            axis=criteria.axis,
        )
        for name in chosen
    ]


def _measured(
    questions: Sequence[MetricQuestion], base: Side, candidate: Side
) -> tuple[list[MetricChange], tuple[str, ...]]:
    """All metrics, judged; and warnings about runs that repeat each other."""
    left, left_twins = without_twins(base)
    right, right_twins = without_twins(candidate)
    changes = [
        measure(q, metric_curves(left, q.name), metric_curves(right, q.name)) for q in questions
    ]
    return corrected(changes), (*left_twins, *right_twins)


def _trend(base: Side, candidate: Side, name: str, axis: Axis) -> Trend:
    """Of all runs that have the metric, those that diverged included; ends in the axis' unit."""
    sides = (
        [member.curves[name] for member in side if name in member.curves]
        for side in (base, candidate)
    )
    found = trend(*sides)
    if not found.base:
        return found
    ends = [in_units(axis, round(end)) for end in (found.first, found.last)]
    return replace(found, first=ends[0], last=ends[1])


def _one_sided(sides: Sequence[Side]) -> Iterator[str]:
    """Metrics that only one side recorded cannot be compared; nobody should miss them silently."""
    names = [{name for member in side for name in member.curves} for side in sides]
    for where, missing in (("base", names[0] - names[1]), ("candidate", names[1] - names[0])):
        if missing:
            yield f"only the {where} recorded {', '.join(sorted(missing))}."


def _guessed(deciding: Sequence[MetricChange]) -> Iterator[str]:
    """A direction that the name does not tell, where it decides."""
    for change in deciding:
        if change.direction_from is DirectionSource.ASSUMED:
            yield (
                f"telemetry assumes that lower {change.name} is better, which its name does not "
                f"say; confirm it with --direction {change.name}=lower, or use =higher."
            )


def _regressed_besides(changes: Sequence[MetricChange]) -> list[str]:
    return [
        f"{change.reason} This does not affect the verdict."
        for change in changes[1:]
        if change.verdict is Verdict.REGRESSION and changes[0].verdict is not Verdict.REGRESSION
    ]


def _layer_warnings(layers: LayerComparison) -> list[str]:
    sides = (("base", layers.only_base), ("candidate", layers.only_candidate))
    return [
        f"{len(names)} layers exist only in the {side}: {', '.join(names[:5])}"
        + (", ..." if len(names) > 5 else ".")  # noqa: PLR2004 - what fits on a line
        for side, names in sides
        if names
    ]
