"""The sentences that explain a verdict, and what would settle one that is open."""

import math

from telemetry.compare.curves.axes import place
from telemetry.compare.diff.result import MetricChange
from telemetry.compare.diff.single_runs import SingleDifference
from telemetry.compare.statistics.intervals import Estimate
from telemetry.compare.statistics.power import MOST_REPLICATES, replicates_needed
from telemetry.compare.terms import Axis, Verdict

MORE_RUNS = "record more seeds of both and compare the groups (--base tag=... --candidate tag=...)"


def percent(share: float) -> str:
    """A relative change with its sign: `+7.12 %`, `+1230 %`."""
    if not math.isfinite(share):
        return f"{share:+}"
    return f"{'+' if share >= 0 else ''}{_rounded(100 * share, 3)} %"


def _rounded(value: float, digits: int) -> str:
    """So many digits that matter; thousands and millions are no powers of ten."""
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+0" in text else text


def judged(
    change: MetricChange, estimate: Estimate, margin: float, single: SingleDifference | None = None
) -> str:
    """Why the verdict of a measured change is what it is."""
    interval = f"95 % interval {percent(change.ci_low)} to {percent(change.ci_high)}"
    runs = f"{_runs(change.n_base)} against {_runs(change.n_candidate)}"
    pairs = ", paired by seed" if change.paired else ""
    moved = f"{change.name} {percent(change.change)} ({interval}, {runs}{pairs})"
    if change.verdict is Verdict.NO_CHANGE:
        return f"{moved}: {_equal(change, margin)}"
    if change.verdict is Verdict.INCONCLUSIVE:
        return f"{moved}: {_what_is_open(change, estimate, margin, single)}"
    word = "better" if change.verdict is Verdict.IMPROVEMENT else "worse"
    return f"{moved}: {word} ({p_value(change.p)}){_how_much(change, margin)}"


def p_value(p: float) -> str:
    """`p 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p {p:.2g}"  # noqa: PLR2004 - digits that matter


def power(change: MetricChange) -> str:
    """What the runs at hand could have shown: `with 3 runs a side a change of 4.1 % ...`."""
    if not math.isfinite(change.detectable) or change.detectable == 0:
        return ""
    runs = f"{_runs(change.n_base)} per side"
    if change.n_base != change.n_candidate:
        runs = f"{_runs(change.n_base)} against {change.n_candidate}"
    pairs = ", paired by seed," if change.paired else ""
    least = _rounded(100 * change.detectable, 2)
    return f"with {runs}{pairs} a change of {least} % would be detected 80 % of the time"


def diverged(side: str, n_runs: int, position: int | None, axis: Axis = Axis.STEP) -> str:
    """Why survival decides."""
    since = "" if position is None else f" from {place(axis, position)} on"
    return f"{_runs(n_runs)} of the {side} diverged to non-finite values{since}."


def both_diverged(name: str) -> str:
    """Why nothing can be compared."""
    return f"{name} cannot be compared: runs on both sides diverged to non-finite values."


def some_diverged(n_candidate: int, reason: str) -> str:
    """Why a candidate does not pass although its surviving runs would."""
    return (
        f"{_runs(n_candidate)} of the candidate diverged to non-finite values; for the others: "
        f"{reason}"
    )


def too_few_points() -> str:
    """Why two curves say nothing."""
    return (
        "the runs have fewer than three common points, so the noise of the values is unknown; "
        f"evaluate more often, or {MORE_RUNS}."
    )


def not_certain_among(n_metrics: int, p: float, reason: str) -> str:
    """Why a change that looks certain alone does not count; `p` is the corrected value."""
    return (
        f"{reason} With {n_metrics} metrics compared, this may be chance ({p_value(p)} with "
        "Holm's correction)."
    )


def _how_much(change: MetricChange, margin: float) -> str:
    """What is known of the size of a change whose sign was tested, one-sided, against zero."""
    limit = f"the margin of {100 * margin:.3g} %"
    if not _holds_zero(change):
        nearest = min(abs(change.ci_low), abs(change.ci_high))
        if nearest >= margin:
            return f", and by more than {limit}."
        return f"; the best estimate exceeds {limit}, but the interval includes smaller changes."
    return (
        f" in the one-sided test; the size is uncertain: the best estimate exceeds {limit}, but "
        "the two-sided interval contains 0."
    )


def _equal(change: MetricChange, margin: float) -> str:
    """Equality by two one-sided tests, each of which leaves out less than the interval does."""
    limit = f"the margin of {100 * margin:.3g} %"
    if max(abs(change.ci_low), abs(change.ci_high)) <= margin:
        return f"equal within {limit} ({p_value(change.p)})."
    return (
        f"equal within {limit} according to two one-sided tests ({p_value(change.p)}), although "
        "the wider two-sided interval reaches beyond it."
    )


def _holds_zero(change: MetricChange) -> bool:
    return change.ci_low <= 0 <= change.ci_high


def _what_is_open(
    change: MetricChange, estimate: Estimate, margin: float, single: SingleDifference | None
) -> str:
    beyond = f"whether this is beyond the margin of {100 * margin:.3g} %"
    if single is not None:
        noisy = single.noise > math.sqrt(2) * single.seed_allowance
        open_still = "this change from a change of seed" if _holds_zero(change) else beyond
        noise = "evaluate on more data or more often, because the values themselves are noisy, and "
        return (
            f"one run per side cannot show {open_still}; the interval allows for seed noise. To "
            f"settle it, {noise if noisy else ''}{MORE_RUNS}."
        )
    smaller = min(change.n_base, change.n_candidate)
    needed = replicates_needed(estimate, margin * abs(change.base))
    if needed is None:
        settle = f"more than {MOST_REPLICATES} runs per side, or a wider --margin, would settle it"
    else:
        settle = f"about {max(needed, smaller + 1)} runs per side would settle it"
    open_still = "whether there is a change" if _holds_zero(change) else beyond
    parts = [f"the runs cannot show {open_still}", power(change), settle]
    return f"{'; '.join(filter(None, parts))}."


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n} runs"
