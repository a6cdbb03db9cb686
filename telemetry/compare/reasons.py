"""The sentences that explain a verdict, and what would settle one that is open."""

import math

from telemetry.compare.diff_result import MetricChange, Verdict
from telemetry.compare.intervals import MOST_REPLICATES, Estimate, replicates_needed

MORE_RUNS = "record more seeds of each and compare the groups (--base tag=... --candidate tag=...)"


def percent(share: float) -> str:
    """A relative change with its sign: `+7.12 %`."""
    return f"{100 * share:+.3g} %" if math.isfinite(share) else f"{share:+}"


def judged(change: MetricChange, estimate: Estimate, margin: float) -> str:
    """Why the verdict of a measured change is what it is."""
    interval = f"95 % interval {percent(change.ci_low)} to {percent(change.ci_high)}"
    runs = f"{_runs(change.n_base)} against {_runs(change.n_candidate)}"
    moved = f"{change.name} {percent(change.change)} ({interval}, {runs})"
    limit = f"{100 * margin:.3g} %"
    if change.verdict is Verdict.NO_CHANGE:
        return f"{moved}: the whole interval lies within the margin of {limit}."
    if change.verdict is Verdict.INCONCLUSIVE:
        return f"{moved}: {_what_is_open(change, estimate, margin)}"
    better = change.verdict is Verdict.IMPROVEMENT
    return f"{moved}: {'better' if better else 'worse'} by more than the margin of {limit}."


def diverged(side: str, n_runs: int, step: int | None) -> str:
    """Why survival decides."""
    since = "" if step is None else f" from step {step} on"
    return f"{_runs(n_runs)} of the {side} ended in values that are not finite{since}."


def both_diverged(name: str) -> str:
    """Why nothing can be compared."""
    return f"{name} cannot be compared: runs of both sides ended in values that are not finite."


def some_diverged(n_candidate: int, reason: str) -> str:
    """Why a candidate does not pass although its surviving runs would."""
    return f"{_runs(n_candidate)} of the candidate ended in values that are not finite. {reason}"


def too_few_points() -> str:
    """Why two curves say nothing."""
    return (
        "fewer than three common points: the noise of the values is unknown; evaluate more often, "
        f"or {MORE_RUNS}."
    )


def not_certain_among(n_metrics: int, reason: str) -> str:
    """Why a change that looks certain alone does not count."""
    return f"{reason} Among {n_metrics} metrics one such change is expected by chance (Holm)."


def _what_is_open(change: MetricChange, estimate: Estimate, margin: float) -> str:
    if change.n_base == change.n_candidate == 1:
        return (
            "one run a side cannot tell this from another seed; the interval allows for seed "
            f"noise. To settle it {MORE_RUNS}."
        )
    smaller = min(change.n_base, change.n_candidate)
    spread = estimate.standard_error / math.sqrt(1 / change.n_base + 1 / change.n_candidate)
    needed = replicates_needed(estimate, spread, margin * abs(change.base))
    if needed is None:
        return (
            f"seeds vary more than that; over {MOST_REPLICATES} runs a side or a wider --margin "
            "would settle it."
        )
    return f"about {max(needed, smaller + 1)} runs a side would settle it."


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n} runs"
