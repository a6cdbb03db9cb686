"""What a reader must know of an attribution beside the checks: none of it is a failure."""

from collections.abc import Iterator

import torch

from telemetry.explain.attribution.attribution import AttributionMap
from telemetry.explain.attribution.hidden_parts import redundant_parts
from telemetry.explain.attribution.methods import RULES
from telemetry.explain.attribution.question import REMOVED, AttributionQuestion
from telemetry.explain.attribution.verification import Judged
from telemetry.explain.models.relu_rule import under_rule
from telemetry.explain.results.check import EMPTY


def warnings_of(
    question: AttributionQuestion, found: AttributionMap, judged: Judged
) -> Iterator[str]:
    """One sentence each."""
    if question.segments.note:
        yield question.segments.note
    yield from question.notes
    yield from _of_baselines(question, found, judged)
    for check in judged.checks:
        if check.name == "local_fit" and check.ok and check.value < check.threshold:
            yield f"LIME's linear model fits only partly (R2 {check.value:.2f})"
    if question.settings.method == "occlusion":
        yield from _of_redundancy(question, found)
        if question.takes_out_tokens and REMOVED not in found.raw:
            yield "the model cannot process a shorter text, so tokens are masked instead of removed"
    if question.settings.method in RULES:
        yield from _of_rules(question, judged)
    yield from _of_method(question, judged)
    if not question.settings.check:
        yield "deletion, insertion, random weights and agreement were not checked"


def _of_baselines(
    question: AttributionQuestion, found: AttributionMap, judged: Judged
) -> Iterator[str]:
    values_by = {**found.by_baseline, **judged.rivals}
    firsts = {name: int(values.argmax()) for name, values in values_by.items()}
    if len({*firsts.values()}) > 1:
        names = question.segments.names
        said = ", ".join(f"{names[index]} by {name}" for name, index in firsts.items())
        yield f"the baseline decides: {said}"


def _of_redundancy(question: AttributionQuestion, found: AttributionMap) -> Iterator[str]:
    together = redundant_parts(question.problem(), question.all_references, found.per_segment)
    if together:
        yield (
            f"redundant evidence: {', '.join(together)} have more effect together than alone; "
            "try --method kernelshap"
        )


def _of_method(question: AttributionQuestion, judged: Judged) -> Iterator[str]:
    found = judged.of_method
    if found is not None and not found.check.ok:
        yield (
            f"of {question.settings.method} under these weights, and no verdict on this input: "
            f"{found.check.meaning} (asked of example {found.example_id})"
        )


def _of_rules(question: AttributionQuestion, judged: Judged) -> Iterator[str]:
    problem, reference = question.problem(), question.all_references[0]
    other = under_rule(question.settings.method, problem.score, reference).values
    if judged.rule is not None and torch.allclose(other, judged.rule.values, atol=EMPTY):
        yield (
            "no switch or gate of the network depends on the input, so every input gives this "
            "picture"
        )
    else:
        yield "this shows structure that the network passes on, not a reason for the class"
    if judged.rule is not None and judged.rule.replaced and judged.rule.others:
        others = ", ".join(f"{count} {name}" for name, count in judged.rule.others.items())
        yield f"this rule is meant for ReLUs; {others} used their own derivative"
