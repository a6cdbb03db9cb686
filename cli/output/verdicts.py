"""How a verdict and the interval behind it are written, for metrics and for costs."""

import math

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Span, Style
from telemetry.compare.terms import Verdict

VERDICT_STYLES = {
    Verdict.REGRESSION: Style.ERROR,
    Verdict.IMPROVEMENT: Style.GOOD,
    Verdict.INCONCLUSIVE: Style.WARNING,
    Verdict.NO_CHANGE: Style.PLAIN,
}
WORDS = {
    Verdict.REGRESSION: "worse",
    Verdict.IMPROVEMENT: "better",
    Verdict.INCONCLUSIVE: "unclear",
    Verdict.NO_CHANGE: "same",
}
WHOLE_FROM = 10.0  # times as much: tenths of a percent are noise


def compared(verdict: Verdict) -> Span:
    """How the candidate compares, in one word."""
    return Span(WORDS[verdict], VERDICT_STYLES[verdict])


def interval(low: float, high: float) -> str:
    """`-1.0 .. -0.4 %`; `-` when the data allow none."""
    if math.isnan(low) or math.isnan(high):
        return numbers.NOTHING
    decimals = 0 if max(abs(low), abs(high)) >= WHOLE_FROM else 1
    return f"{100 * low:+.{decimals}f} .. {100 * high:+.{decimals}f} %"
