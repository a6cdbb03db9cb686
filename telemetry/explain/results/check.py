"""Checks that answers of every kind are held against, and how one is told."""

from dataclasses import dataclass

from torch import Tensor

from telemetry.explain.models.relu_rule import RuleReport
from telemetry.json_values import Json

SAME = 1e-6  # relative difference of two identical calls
EMPTY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: `value` against `threshold`, whether it passed, and what a failure means."""

    name: str
    value: float
    threshold: float
    ok: bool
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCheck:
    """What is known of a method under some weights, whatever the input: no verdict on one.

    Attributes:
        check: What came out.
        example_id: The input on whose map it was asked.
    """

    check: Check
    example_id: str


def determinism(first: Tensor, second: Tensor) -> Check:
    """Two identical calls give the same."""
    size = max(float(first.abs().max()), EMPTY)
    value = float((first - second).abs().max()) / size
    return Check(
        name="determinism",
        value=value,
        threshold=SAME,
        ok=value <= SAME,
        meaning="two identical calls give different results: something in the model is random",
    )


def rule_saw_all(report: RuleReport) -> Check:
    """Every ReLU had the other derivative, and the output is what it was."""
    blind = report.missed if report.replaced else max(report.missed, 1)
    meaning = "ReLUs ran where this rule cannot see them"
    if not report.replaced and not report.missed:
        others = ", ".join(f"{count} {name}" for name, count in report.others.items())
        kept = f": {others} used their own derivative" if others else ""
        meaning = f"this rule is meant for ReLUs, but none was seen{kept}"
    return Check(
        name="rule_saw_all",
        value=float(blind),
        threshold=0.0,
        ok=blind == 0 and report.same_output,
        meaning=meaning,
    )


def method_check_json(found: MethodCheck | None) -> dict[str, Json] | None:
    """The check of a method; None: it was not asked."""
    return None if found is None else {**check_json(found.check), "example_id": found.example_id}


def check_json(check: Check) -> dict[str, Json]:
    """One check of an answer."""
    return {
        "name": check.name,
        "value": check.value,
        "threshold": check.threshold,
        "ok": check.ok,
        "meaning": check.meaning,
    }
