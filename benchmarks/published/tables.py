"""The table of all cases for people: cases.md. What was told is shown of the tuning half only."""

from collections.abc import Callable, Iterable, Mapping

from published.answers import Answer, Half, half
from published.case import Case
from published.outcome import Outcome, alarms, verdict

HEAD = (
    "case",
    "for",
    "source",
    "what was wrong",
    "what mended it",
    "how it was ported",
    "reached, wrong and mended",
    "accepted",
    "verdict",
    "told of the wrong version",
    "alarms on the mended one",
)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _told(outcome: Outcome, answer: Answer) -> tuple[str, str, str]:
    """Verdict, findings and alarms; nobody is to make a rule by those of the reporting half."""
    if half(answer) is Half.REPORTING:
        return "kept back", "", ""
    return (
        verdict(outcome, answer),
        " ".join(told.words for told in outcome.told_of_wrong) or "nothing",
        " ".join(told.words for told in alarms(outcome, answer)) or "none",
    )


def markdown(
    outcomes: Iterable[Outcome], cases: Mapping[str, Case], known: Mapping[str, Answer]
) -> str:
    """One row a case, by name."""
    named: Callable[[Outcome], str] = lambda outcome: outcome.name  # noqa: E731
    lines = [_row(HEAD), _row("---" for _ in HEAD)]
    for outcome in sorted(outcomes, key=named):
        case, answer = cases[outcome.name], known[outcome.name]
        harm = "" if outcome.hurts else " (no harm)"
        lines.append(
            _row(
                (
                    outcome.name,
                    half(answer).value,
                    case.source,
                    case.wrong,
                    case.mended,
                    case.ported,
                    f"{outcome.wrong.words}, {outcome.fixed.words}{harm}",
                    ", ".join(answer.accepted) or "no detector yet",
                    *_told(outcome, answer),
                )
            )
        )
    return "\n".join(lines) + "\n"
