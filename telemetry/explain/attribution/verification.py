"""Holds an attribution against everything that tells a reason from a picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from telemetry.explain.attribution import checks as checking
from telemetry.explain.attribution.attribution import AttributionMap, Comparison
from telemetry.explain.attribution.curves import curve_checks, curve_inputs
from telemetry.explain.attribution.local_model import local_fit, stability, unstable_signs
from telemetry.explain.attribution.methods import (
    COMPLETE,
    FIRST_STEPS,
    OF_ELEMENTS,
    RULES,
    Problem,
    n_sampled,
)
from telemetry.explain.attribution.question import AttributionQuestion
from telemetry.explain.models.random_weights import run_order, with_random_weights
from telemetry.explain.models.relu_rule import RuleReport, under_rule
from telemetry.explain.progress import TimeUp, tell
from telemetry.explain.results.check import (
    Check,
    MethodCheck,
    check_json,
    determinism,
    rule_saw_all,
)

STABILITY_SEEDS = 3
GRADIENT_COST = 3  # of a forward and a backward pass, in forwards


@dataclass(slots=True, kw_only=True, eq=False)
class Judged:
    """What the checks found.

    Attributes:
        checks: In the order of their cost.
        of_method: What holds of the method under these weights; None: it was not asked.
        unstable: Segments whose sign differs between draws; None: nothing was drawn again.
        compared: What another method says; None: none was asked.
        rivals: Values of the segments by the baselines that are usual, where another was named.
        rule: What the rule for ReLUs met; None: the method has none.
        is_whole: Whether there was time for all of it.
    """

    checks: list[Check] = field(default_factory=list)
    of_method: MethodCheck | None = None
    unstable: Tensor | None = None
    compared: Comparison | None = None
    rivals: Mapping[str, Tensor] = field(default_factory=dict)
    rule: RuleReport | None = None
    is_whole: bool = True


def judge(
    question: AttributionQuestion,
    coarse: AttributionMap,
    found: AttributionMap,
    differences: dict[str, list[float]],
) -> Judged:
    """Every check that fits the method, as far as there is time; each is told when it is done.

    Args:
        question: What was asked.
        coarse: What the method said at once.
        found: What it said.
        differences: Score of the input less that of each reference, by baseline.
    """
    judged, problem = Judged(), question.problem()
    try:
        for check in _checks(question, coarse, found, problem, differences, judged):
            judged.checks.append(check)
            tell(check=check_json(check))
        if question.settings.check:
            judged.of_method = _of_method(question, coarse, problem)
    except TimeUp:
        judged.is_whole = False
    return judged


def _checks(
    question: AttributionQuestion,
    coarse: AttributionMap,
    found: AttributionMap,
    problem: Problem,
    differences: dict[str, list[float]],
    judged: Judged,
) -> Iterator[Check]:
    yield determinism(
        torch.cat([coarse.native.flatten(), _asked_with(problem, 1)]),
        torch.cat([question.answered(problem.coarse).native.flatten(), _asked_with(problem, 2)]),
    )
    yield from _cheap(question, found, problem, differences, judged)
    if question.settings.check:
        yield from _costly(question, found, problem, judged)


def n_runs(question: AttributionQuestion) -> int:
    """How often the method or another runs, the checks among them."""
    settings = question.settings
    n_values = (
        question.example.input.numel() if settings.method in OF_ELEMENTS else len(question.segments)
    )
    return (
        2
        + (STABILITY_SEEDS - 1) * (settings.method == "lime")
        + _stages(question) * checking.random_models(n_values)
        + bool(question.rivals)
        + (settings.compared is not None)
    )


def expected_forwards(question: AttributionQuestion) -> tuple[int, int]:
    """About how many inputs the model runs on until there is a map, and until all is checked.

    An input with gradient counts as three.
    """
    settings, n_references = question.settings, len(question.all_references)
    first = _cost(question, settings.method, n_references)
    whole = first * (1 + n_runs(question) - bool(question.rivals) - (settings.compared is not None))
    whole += sum(_cost(question, settings.method, len(group)) for group in question.rivals.values())
    if settings.compared is not None:
        whole += _cost(question, settings.compared, n_references)
    if settings.check:
        whole += curve_inputs(len(question.segments)) * n_references
    return first, whole


def _cost(question: AttributionQuestion, method: str, n_references: int) -> int:
    n = len(question.segments)
    if method in RULES:
        return GRADIENT_COST
    if method == "ig":
        return GRADIENT_COST * FIRST_STEPS * n_references
    if method == "occlusion":
        return (n + 1) * n_references
    return n_sampled(method, n, question.settings.samples) * n_references


def _key(question: AttributionQuestion) -> tuple[str, str]:
    return question.subject.identity, question.settings.method


def _stages(question: AttributionQuestion) -> int:
    """How many kinds of random models are asked, but for those that only a failure asks for."""
    if not question.settings.check or _key(question) in question.subject.method_checks:
        return 0
    return 1 + _has_head_stage(question)


def _has_head_stage(question: AttributionQuestion) -> bool:
    return question.output.dim() > 1  # else one output an example


def _of_method(
    question: AttributionQuestion, found: AttributionMap, problem: Problem
) -> MethodCheck:
    """Whether maps depend on what was learnt: asked of the first input, and of no other."""
    known, key = question.subject.method_checks, _key(question)
    if key not in known:
        n_values = found.native.numel()
        support = checking.support_of(
            problem.values, question.all_references, question.segments, n_values
        )
        check = checking.randomisation(
            lambda model: question.answered(question.problem(model).coarse).native,
            question.model,
            found.native,
            support,
            _layers(question, problem),
            has_head_stage=_has_head_stage(question),
        )
        known[key] = MethodCheck(check=check, example_id=question.example.id)
    return known[key]


def _cheap(
    question: AttributionQuestion,
    found: AttributionMap,
    problem: Problem,
    differences: dict[str, list[float]],
    judged: Judged,
) -> Iterator[Check]:
    method = question.settings.method
    yield checking.not_empty(found.native, [d for group in differences.values() for d in group])
    if method in COMPLETE:
        yield checking.completeness(*sums(found, differences), question.subject.half_precision)
    if method in RULES:
        judged.rule = under_rule(method, problem.score, problem.values)
        yield rule_saw_all(judged.rule)
    if method == "lime":
        yield from _lime_checks(question, found, problem, judged)


def _asked_with(problem: Problem, seed: int) -> Tensor:
    """Score of the input under a random state of its own: methods draw from the same one twice."""
    with torch.random.fork_rng():
        torch.manual_seed(problem.seed + seed)
        return problem.scores(problem.values[None])


def _costly(
    question: AttributionQuestion,
    found: AttributionMap,
    problem: Problem,
    judged: Judged,
) -> Iterator[Check]:
    references, seed = question.all_references, question.settings.seed
    yield from curve_checks(problem, found.per_segment, references, seed)
    if question.rivals:
        judged.rivals = question.answered(problem, references=question.rivals).by_baseline
    other = question.settings.compared
    if other is not None:
        judged.compared, check = _compared(question, found, problem, other)
        yield check


def _layers(question: AttributionQuestion, problem: Problem) -> list[str]:
    """The layers that ran up to the last one that the score depends on; empty: not known."""
    model, only = question.model, problem.values[None]
    order = run_order(model, lambda: problem.scores(only))
    own = problem.scores(only)
    while order:
        other = question.problem(with_random_weights(model, 0, order[-1:]))
        if not torch.equal(other.scores(only), own):
            return order
        order.pop()
    return []


def _compared(
    question: AttributionQuestion, found: AttributionMap, problem: Problem, method: str
) -> tuple[Comparison, Check]:
    mine, names = found.per_segment, question.segments.names
    others = question.answered(problem, method).per_segment
    best = int(mine.argmax())
    place = int((others > others[best]).sum()) + 1
    instead = names[int(others.argmax())]
    check = checking.agreement(
        place,
        f"methods disagree: {names[best]} by {question.settings.method}, {instead} by {method}",
    )
    return Comparison(method=method, best=instead, agrees=check.ok), check


def _lime_checks(
    question: AttributionQuestion, found: AttributionMap, problem: Problem, judged: Judged
) -> Iterator[Check]:
    seed = question.settings.seed
    fits = [
        local_fit(problem, found.by_baseline[name], references, seed)
        for name, references in question.references.items()
    ]
    yield min(fits, key=lambda fit: fit.value)
    others = [
        question.answered(replace(problem, seed=other)).per_segment
        for other in range(seed + 1, seed + STABILITY_SEEDS)
    ]
    maps = [found.per_segment, *others]
    judged.unstable = unstable_signs(maps)
    yield stability(maps, question.segments.names)


def sums(
    found: AttributionMap, differences: dict[str, list[float]]
) -> tuple[Sequence[float], Sequence[float]]:
    """Sums of the raw maps and what they should be; of references taken together the mean."""
    totals: list[float] = []
    wanted: list[float] = []
    for name, maps in found.raw.items():
        totals += [float(values.sum()) for values in maps]
        group = differences[name]
        wanted += group if len(maps) == len(group) else [sum(group) / len(group)]
    return totals, wanted
