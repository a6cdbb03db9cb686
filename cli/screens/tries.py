"""How experiments are shown: the table of remedies, and the curves of the best."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style
from telemetry.cli.output.overlay import ASCII, UNICODE, overlay
from telemetry.cli.output.render import Screen
from telemetry.cli.output.texts import plural
from telemetry.trials.result import Outcome, Tried, Tries

if TYPE_CHECKING:
    from telemetry.trials.stored import StoredTry

FEWEST_POINTS = 4
STYLES = {Outcome.CONFIRMED: Style.GOOD, Outcome.WORSE: Style.ERROR, Outcome.FAILED: Style.WARNING}
MEASURED = frozenset({Outcome.CONFIRMED, Outcome.WORSE, Outcome.REFUTED, Outcome.NO_EFFECT})


def show_tries(screen: Screen, tries: Tries) -> None:
    """Every remedy with its verdict, then the curves of the best and what the verdict rests on."""
    if not tries.tried:
        screen.line("nothing was tried")
        return
    measured = [one for one in tries.tried if one.outcome in MEASURED]
    if measured:
        screen.grid(_table(measured))
    _show_unmeasured(screen, tries.tried)
    best = tries.tried[0]
    if best.outcome is Outcome.CONFIRMED:
        _show_curves(screen, best)
        screen.blank()
        screen.paragraph(confirmed_text(best), indent=2)
        _show_finding(screen, best)
        _show_gains(screen, tries.tried[1:], indent=2)
    else:
        screen.blank()
        screen.paragraph("no remedy is confirmed", indent=2)
    unclear = [one for one in measured if one.outcome is Outcome.NO_EFFECT]
    if unclear:
        screen.paragraph(_power_text(unclear), indent=2)


def show_stored(screen: Screen, tries: "Sequence[StoredTry]") -> None:
    """What experiments have said of a run: answers to findings in full, the others by verdict."""
    for text in confirmed_lines(tries):
        screen.paragraph(text)
    _show_gains(screen, tries)
    others: dict[str, list[str]] = {}
    for one in tries:
        if not one.is_confirmed:
            others.setdefault(one.verdict, []).append(one.dose)
    if others:
        words = [f"{verdict}: {', '.join(doses)}" for verdict, doses in others.items()]
        screen.paragraph(f"other experiments: {'; '.join(words)}")


def confirmed_lines(tries: "Sequence[StoredTry]") -> list[str]:
    """A line for each confirmed remedy that answers a finding."""
    return [f"{confirmed_text(one)} (for {one.treats})" for one in tries if one.answers_finding]


def _show_gains(
    screen: Screen, tries: "Sequence[Tried] | Sequence[StoredTry]", *, indent: int = 0
) -> None:
    """Confirmed remedies that are no proof of a cause."""
    gains = [one for one in tries if one.is_confirmed and not one.answers_finding]
    if gains:
        names = [f"{one.dose} ({one.treats} stays)" if one.treats else one.dose for one in gains]
        text = f"also helps, but answers no finding: {', '.join(names)}"
        screen.paragraph(text, indent=indent)


def confirmed_text(one: "Tried | StoredTry") -> str:
    """`lr/8 brings the loss at step 299 from 2.31 to 0.41 [0.38, 0.44], 2 of 2 seeds`."""
    to = numbers.number(one.treated)
    interval = ""
    if not math.isnan(one.ci_low):
        interval = f" [{numbers.number(one.ci_low)}, {numbers.number(one.ci_high)}]"
    start = numbers.number(one.control) if math.isfinite(one.control) else "divergence"
    return (
        f"confirmed by experiment: {one.dose} brings {_named(one.metric)} at step {one.step} from "
        f"{start} to {to}{interval}, {one.n_better} of {plural(one.n_seeds, 'seed')}"
    )


def _named(metric: str) -> str:
    return "the loss" if metric == "loss" else metric


def _table(tried: Sequence[Tried]) -> Grid:
    columns = (
        Column(header="remedy"),
        Column(header="verdict"),
        Column(header="without", align=Align.RIGHT),
        Column(header="with", align=Align.RIGHT),
        Column(header="95 % interval"),
        Column(header="seeds", rank=1),
        Column(header="finding", rank=2),
    )
    return Grid(columns=columns, rows=tuple(_row(one) for one in tried))


def _row(one: Tried) -> tuple[str | Span, ...]:
    verdict = Span(str(one.outcome), STYLES.get(one.outcome, Style.PLAIN))
    interval = ""
    if not math.isnan(one.ci_low):
        interval = f"{numbers.number(one.ci_low)} to {numbers.number(one.ci_high)}"
    return (
        one.dose,
        verdict,
        _value(one.control),
        _value(one.treated),
        interval,
        f"{one.n_better} of {one.n_seeds}",
        _finding(one),
    )


def _finding(one: Tried) -> str:
    """The finding that a remedy is for, and what became of it."""
    if one.treats is None:
        return ""
    if one.finding_gone is None:
        return one.treats
    return f"{one.treats} {'gone' if one.finding_gone else 'stays'}"


def _value(value: float) -> str:
    """A replay whose values end in NaN or infinity has diverged."""
    return numbers.number(value) if math.isfinite(value) else "diverged"


def _show_unmeasured(screen: Screen, tried: Sequence[Tried]) -> None:
    """Why remedies were not measured, each verdict and reason once."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for one in tried:
        if one.outcome not in MEASURED:
            by_reason.setdefault((str(one.outcome), one.reason), []).append(one.dose)
    for (verdict, reason), doses in by_reason.items():
        screen.paragraph(f"{verdict}: {', '.join(doses)} ({reason})", indent=2)


def _show_finding(screen: Screen, best: Tried) -> None:
    if best.treats is None:
        text = "it answers no finding of this run: it is a gain, and no proof of a cause"
        screen.paragraph(text, indent=2)
    elif best.finding_gone is not None:
        state = "is gone" if best.finding_gone else "stays"
        screen.paragraph(f"the finding {best.treats} {state} with it", indent=2)
    else:
        text = f"the finding {best.treats} does not show in so few steps, not even without it"
        screen.paragraph(text, indent=2)
    if best.new_findings:
        names = ", ".join(best.new_findings)
        screen.paragraph(f"new with it: {names}", indent=2)


def _power_text(measured: Sequence[Tried]) -> str:
    names = ", ".join(one.dose for one in measured)
    known = [one.detectable for one in measured if math.isfinite(one.detectable)]
    if not known:
        return f"no effect seen of {names}"
    least, most = (numbers.percent(one) for one in (min(known), max(known)))
    sizes = least if least == most else f"{least} to {most}"
    return (
        f"no effect seen of {names} (power: a change of {sizes} would have been seen in 80 % of "
        "such trials; more --seeds or --steps show smaller ones)"
    )


def _show_curves(screen: Screen, best: Tried) -> None:
    glyphs = UNICODE if screen.knows_unicode else ASCII
    if len(best.trend.base) < FEWEST_POINTS:
        return
    picture = overlay(best.trend.base, best.trend.candidate, glyphs=glyphs)
    if picture is None:
        return
    ends = {0: numbers.number(picture.high), len(picture.lines) - 1: numbers.number(picture.low)}
    width = max(map(len, ends.values()))
    lines = [
        f"  {ends.get(at, ''):>{width}} |{line}".rstrip() for at, line in enumerate(picture.lines)
    ]
    last = str(round(best.trend.last))
    first = f"step {round(best.trend.first)}"
    room = max(len(picture.lines[0]) - len(last), len(first) + 1)
    legend = f"{glyphs.base} without  {glyphs.candidate} with {best.dose}  {glyphs.both} both"
    screen.blank()
    screen.figure(
        [f"  {best.metric}   {legend}", *lines, f"  {' ' * width} |{first:<{room}}{last}"]
    )
