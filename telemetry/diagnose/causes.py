"""One root, the rest its consequences: the cause graph over findings.

The rules declare the graph: each says in its own file what its finding may cause and what may have
caused it. A finding whose ancestor in the graph was found too, no later than one sampling period
after it, is that ancestor's consequence. Only a warning or an error can be a cause.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from telemetry.diagnose.detector import Detector, Mechanism, all_detectors
from telemetry.diagnose.finding import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseGraph:
    """Which finding may follow from which.

    Attributes:
        reach: Everything that each rule's finding may cause, over any number of edges.
        mechanisms: How each rule's finding causes what follows from it.
        symptoms: Rules whose finding is a root only where no other finding explains it.
        bystanders: Rules whose findings never explain a symptom.
    """

    reach: Mapping[str, frozenset[str]]
    mechanisms: Mapping[str, frozenset[Mechanism]]
    symptoms: frozenset[str]
    bystanders: frozenset[str]

    @classmethod
    def of(cls, detectors: Sequence[Detector]) -> "CauseGraph":
        """The graph that these rules declare.

        Raises:
            ValueError: a rule names one that is not there, an edge is declared twice, or a finding
                would cause itself.
        """
        effects = _effects(detectors)
        reach = {name: _reached(name, effects) for name in effects}
        circle = [name for name in sorted(reach) if name in reach[name]]
        if circle:
            raise ValueError(
                f"rules {', '.join(circle)}: by their causes and caused_by a finding would cause "
                "itself; remove one of these declarations."
            )
        return cls(
            reach=reach,
            mechanisms={detector.id: frozenset(detector.acts_by) for detector in detectors},
            symptoms=frozenset(d.id for d in detectors if d.is_symptom),
            bystanders=frozenset(d.id for d in detectors if not d.explains_symptoms),
        )

    def descendants(self, cause: str) -> frozenset[str]:
        """Everything that a finding may cause, over any number of edges."""
        return self.reach.get(cause, frozenset())

    def ancestors(self, effect: str) -> frozenset[str]:
        """Every cause that a finding may have, over any number of edges."""
        return frozenset(cause for cause, reached in self.reach.items() if effect in reached)

    def acting_by(self, mechanism: Mechanism) -> frozenset[str]:
        """The rules whose findings cause others in that way."""
        return frozenset(name for name, own in self.mechanisms.items() if mechanism in own)


@cache
def cause_graph() -> CauseGraph:
    """The graph of all rules.

    Raises:
        ValueError: what they declare does not fit together.
    """
    return CauseGraph.of(all_detectors())


def _effects(detectors: Sequence[Detector]) -> dict[str, set[str]]:
    """What each rule's finding causes directly, whichever of the two declares it."""
    effects: dict[str, set[str]] = {detector.id: set() for detector in detectors}
    for detector in detectors:
        for name in (*detector.causes, *detector.caused_by):
            if name not in effects:
                near = difflib.get_close_matches(name, effects, n=1)
                hint = f"did you mean {near[0]}?" if near else "name a file below rules/."
                raise ValueError(
                    f"rule {detector.id}: causes or caused_by names {name!r}, which is not a rule; "
                    f"{hint}"
                )
        edges = [(detector.id, name) for name in detector.causes]
        edges += [(name, detector.id) for name in detector.caused_by]
        for cause, effect in edges:
            if effect in effects[cause]:
                raise ValueError(
                    f"rule {detector.id}: that {cause} causes {effect} is declared twice; keep "
                    "one of the two."
                )
            effects[cause].add(effect)
    return effects


def _reached(start: str, effects: Mapping[str, set[str]]) -> frozenset[str]:
    reached: set[str] = set()
    waiting = list(effects[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(effects[name])
    return frozenset(reached)


def ordered(
    findings: Sequence[Finding],
    graph: CauseGraph,
    *,
    tier_ranks: Mapping[str, int],
    period: int,
) -> tuple[Finding, ...]:
    """Roots first, each followed by its consequences; `consequence_of` names the root.

    Args:
        findings: At most one per detector.
        graph: What may cause what.
        tier_ranks: Rank of each detector's tier, 0 first: invariants outrank statistics.
        period: Usual steps between two samples.
    """
    ranked = sorted(findings, key=lambda f: _rank(f, tier_ranks))
    roots: list[Finding] = []
    followers: dict[str, list[Finding]] = {}
    for finding in ranked:
        root = _root_of(finding, ranked, graph, period)
        if root is None:
            roots.append(finding)
        else:
            followers.setdefault(root, []).append(replace(finding, consequence_of=root))
    return tuple(entry for root in roots for entry in (root, *followers.get(root.detector, [])))


def _rank(finding: Finding, tier_ranks: Mapping[str, int]) -> tuple[bool, int, int, int, str]:
    first = finding.first_step if finding.first_step is not None else 0
    return (
        finding.severity is Severity.INFO,
        tier_ranks.get(finding.detector, len(tier_ranks)),
        finding.severity.rank,
        first,
        finding.detector,
    )


def _root_of(
    finding: Finding, ranked: Sequence[Finding], graph: CauseGraph, period: int
) -> str | None:
    """The best-ranked ancestor that has no ancestor itself; None for a root."""
    for cause in ranked:
        if _causes(cause, finding, graph, period) and not any(
            _causes(other, cause, graph, period) for other in ranked
        ):
            return cause.detector
    return None


def _causes(cause: Finding, effect: Finding, graph: CauseGraph, period: int) -> bool:
    if cause.detector == effect.detector or cause.severity is Severity.INFO:
        return False
    if cause.detector in effect.rules_out:
        return False
    reached = graph.descendants(cause.detector)
    if effect.detector in graph.symptoms:  # a bystander explains what it names and no more
        return cause.detector not in graph.bystanders or effect.detector in reached
    if cause.detector in graph.symptoms:  # it has held since the start, and shows later
        return effect.detector in reached
    since = cause.first_step if cause.earliest is None else cause.earliest
    in_time = (since or 0) <= (effect.first_step or 0) + period
    return in_time and effect.detector in reached | cause.also_causes
