"""Rates with intervals, the confusion of causes, and how late: what both benchmarks print.

A share comes with the 95 % interval of Wilson (1927). Seeds of one recipe are not independent, so
an interval over recipes x seeds is narrower than the truth; the tables say how many recipes.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from telemetry.diagnose.finding import Diagnosis, Finding, Severity

Z_95 = 1.96
NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What was done to a run; nothing to a healthy one.

    Attributes:
        roots: Accepted root causes; empty for a healthy run.
        layers: Accepted layers by prefix; empty where none is defined.
        by: Latest first step of its finding that is on time.
    """

    roots: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    by: int | None = None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A diagnosis held against what was planted; only warnings and errors count.

    Attributes:
        verdict: `ok`, `extra root`, `symptom only`, `wrong root`, `miss`; of healthy runs `ok` or
            `false alarm`.
        named: The root that is ranked first, or `nothing`.
        late: The accepted root was first seen after `by`; None where there is none.
        layer_right: None where no layer is defined or no accepted root was found.
        not_checked: Detectors that lacked data; those with nothing to check are left out.
    """

    verdict: str
    named: str
    layer: str | None
    step: int | None
    late: bool | None
    layer_right: bool | None
    others: tuple[str, ...]
    not_checked: tuple[str, ...]

    @property
    def right(self) -> bool:
        """An accepted cause is a root, or a healthy run is silent."""
        return self.verdict in {"ok", "extra root"}


def held_against(planted: Planted, diagnosis: Diagnosis) -> Judged:
    """Is an accepted root found, in its layer and on time, and nothing else called a root?"""
    serious = [f for f in diagnosis.findings if f.severity is not Severity.INFO]
    roots = [f for f in serious if f.consequence_of is None]
    accepted = [f for f in roots if f.detector in planted.roots]
    told = accepted[0] if accepted else (roots[0] if roots else None)
    return Judged(
        verdict=_verdict(planted, serious, roots, accepted),
        named=roots[0].detector if roots else NOTHING,
        layer=None if told is None else told.layer,
        step=None if told is None else told.first_step,
        late=_late(planted, accepted),
        layer_right=_layer_right(planted, accepted),
        others=tuple(_short(f) for f in diagnosis.findings if f is not told),
        not_checked=tuple(entry.detector for entry in diagnosis.not_checked if not entry.absent),
    )


def _verdict(
    planted: Planted,
    serious: Sequence[Finding],
    roots: Sequence[Finding],
    accepted: Sequence[Finding],
) -> str:
    if not planted.roots:
        return "false alarm" if serious else "ok"
    if accepted:
        extra = any(f.detector not in planted.roots for f in roots)
        return "extra root" if extra else "ok"
    if any(f.detector in planted.roots for f in serious):
        return "symptom only"
    return "wrong root" if roots else "miss"


def _late(planted: Planted, accepted: Sequence[Finding]) -> bool | None:
    if not accepted or planted.by is None:
        return None
    return (accepted[0].first_step or 0) > planted.by


def _layer_right(planted: Planted, accepted: Sequence[Finding]) -> bool | None:
    if not planted.layers or not accepted:
        return None
    layer = str(accepted[0].layer)
    return any(layer == name or layer.startswith(f"{name}.") for name in planted.layers)


def _short(finding: Finding) -> str:
    """`W:dead_units<learning_rate_too_high`."""
    letter = "i" if finding.severity is Severity.INFO else finding.severity[0].upper()
    cause = f"<{finding.consequence_of}" if finding.consequence_of else ""
    return f"{letter}:{finding.detector}{cause}"


def wilson(n_hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    if not n:
        return 0.0, 1.0
    share = n_hits / n
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    spread = Z_95 / (1 + Z_95**2 / n)
    spread *= math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    return max(0.0, centre - spread), min(1.0, centre + spread)


def rate(hits: Iterable[bool]) -> str:
    """`57 of 60, 95.0 % (86.3 to 98.3)`."""
    values = list(hits)
    if not values:
        return "none"
    low, high = wilson(sum(values), len(values))
    share = sum(values) / len(values)
    return f"{sum(values)} of {len(values)}, {share:.1%} ({low:.1%} to {high:.1%})"


def rates(outcomes: Sequence[tuple[Planted, Judged]]) -> dict[str, str]:
    """The rates that the issue of a diagnosis is judged by, by name."""
    faulty = [(p, j) for p, j in outcomes if p.roots]
    healthy = [j for p, j in outcomes if not p.roots]
    return {
        "right root": rate(j.right for _, j in faulty),
        "first-ranked root right": rate(j.named in p.roots for p, j in faulty),
        "symptom only": rate(j.verdict == "symptom only" for _, j in faulty),
        "unaccepted roots": rate(j.verdict in {"extra root", "wrong root"} for _, j in faulty),
        "right layer": rate(j.layer_right for _, j in faulty if j.layer_right is not None),
        "on time": rate(not j.late for _, j in faulty if j.late is not None),
        "healthy with an alarm": rate(not j.right for j in healthy),
    }


def confusion(outcomes: Sequence[tuple[str, str]]) -> list[str]:
    """Lines `planted: named xN, ...` of the planted and the first-ranked root, commonest first."""
    by_planted: dict[str, Counter[str]] = {}
    for planted, named in outcomes:
        by_planted.setdefault(planted, Counter())[named] += 1
    return [
        f"{planted:28} " + ", ".join(f"{name} x{n}" for name, n in named.most_common())
        for planted, named in sorted(by_planted.items())
    ]


def unchecked(outcomes: Sequence[Judged]) -> list[str]:
    """Lines of detectors that could not judge, with their share of the runs."""
    counts = Counter(name for judged in outcomes for name in judged.not_checked)
    return [f"{name:28} {n / len(outcomes):.0%}" for name, n in counts.most_common()]
