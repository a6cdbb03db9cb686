"""Which parts of an input made the model say that: an attribution, and whether to believe it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from telemetry.capture.tensors.predictions import class_name
from telemetry.explain.attribution.attribution import Attribution, AttributionMap, Changed
from telemetry.explain.attribution.cautions import warnings_of
from telemetry.explain.attribution.checks import completeness
from telemetry.explain.attribution.hidden_parts import changed_answers
from telemetry.explain.attribution.methods import COMPLETE
from telemetry.explain.attribution.phrases import Phrase, strongest_phrase
from telemetry.explain.attribution.question import AttributionQuestion, ask
from telemetry.explain.attribution.sliding import sliding_occlusion
from telemetry.explain.attribution.verification import Judged, judge, n_runs, sums
from telemetry.explain.inputs.columns import given_columns
from telemetry.explain.inputs.examples import Example, Modality
from telemetry.explain.models.subject import Subject, examples_of
from telemetry.explain.progress import Progress, TimeUp
from telemetry.explain.results.check import Check
from telemetry.explain.results.identities import identity_of
from telemetry.json_values import Json
from telemetry.requests.explain.input import WRONG, InputSettings


def attribute(  # noqa: PLR0913 - all that one may choose; most is left to what the input is
    subject: Subject,
    example: str | Example,
    target: str = WRONG,
    *,
    method: str = "ig",
    segments: str | None = None,
    baseline: str | None = None,
    samples: int | None = None,
    compare: str | None = None,
    seed: int = 0,
    batch: int = 64,
    check: bool = True,
    embedding: str | None = None,
    progress: Progress | None = None,
) -> Attribution:
    """Attribute the answer to one example to its parts.

    Args:
        subject: Model and examples.
        example: Id or place of an example, or one that is in no data set.
        target: `wrong`, `pred`, `true`, or a class; see `score_for`.
        method: `ig`, `occlusion`, `lime`, `kernelshap`, `deconv` or `guided`.
        segments: `grid:6x6`, `felzenszwalb`, `token` or `feature`; None: as the input is.
        baseline: What the input is compared with; None: as the input is.
        samples: Of LIME and KernelSHAP; None: as many as the parts need.
        compare: Another method that must name the same part; None: occlusion.
        seed: Of what is drawn.
        batch: Inputs a forward.
        check: Also hold it against deletion, insertion, random weights and another method.
        embedding: Name of the module that embeds tokens; None: the first `nn.Embedding`.
        progress: Told how far it is.

    Raises:
        UsageError: an unknown example, class, method or baseline, or one that does not fit.
    """
    settings = InputSettings(
        method=method,
        segments=segments,
        baseline=baseline,
        samples=samples,
        compare=compare,
        seed=seed,
        batch=batch,
        check=check,
        embedding=embedding,
    )
    return attributed(subject, example, target, settings, progress)


def attributed(
    subject: Subject,
    example: str | Example,
    target: str,
    settings: InputSettings,
    progress: Progress | None = None,
) -> Attribution:
    """The same by settings in a record.

    Raises:
        UsageError: as for `attribute`.
    """
    chosen = examples_of(subject).find(example) if isinstance(example, str) else example
    with subject.running(gradient=True):
        return answered(ask(subject, chosen, target, settings), progress)


def answered(
    question: AttributionQuestion,
    progress: Progress | None = None,
    first: Callable[[Attribution], None] | None = None,
) -> Attribution:
    """The answer to a question, inside `subject.running()`: at once, then with all checks.

    Args:
        question: What is asked.
        progress: Told how far it is.
        first: Told the answer as soon as there is one; nothing of it is checked.

    Raises:
        UsageError: as for `attribute`.
        TimeUp: there was no time for any answer.
    """
    started = time.perf_counter()
    if progress is not None:
        question = replace(question, finished=_steps(progress, n_runs(question)))
    problem = question.problem()
    coarse = question.answered(problem.coarse)
    differences = {name: problem.differences(group) for name, group in question.references.items()}
    if first is not None:
        first(_told(question, coarse, differences, Judged(), _Beside(), started))
    found, judged, beside = coarse, Judged(is_whole=False), _Beside()
    try:
        found = _refined(question, coarse, differences)
        judged = judge(question, coarse, found, differences)
        beside = _beside(question, found, judged)
    except TimeUp:
        judged.is_whole = False
    if not judged.is_whole:
        judged.checks.append(_time_up(judged))
    return _told(question, found, differences, judged, beside, started)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Beside:
    """What else is asked of the model, once the map is there."""

    shown: Tensor | None = None
    changed: tuple[Changed, ...] | None = None
    phrase: Phrase | None = None
    warnings: tuple[str, ...] = ()


def _beside(question: AttributionQuestion, found: AttributionMap, judged: Judged) -> _Beside:
    return _Beside(
        shown=_shown(question, found),
        changed=_changed(question),
        phrase=_phrase(question, found),
        warnings=tuple(warnings_of(question, found, judged)),
    )


def _refined(
    question: AttributionQuestion, coarse: AttributionMap, differences: dict[str, list[float]]
) -> AttributionMap:
    """The map with as many steps as its sum needs; others are what they are at once."""
    if question.settings.method not in COMPLETE or not coarse.of_elements:
        return coarse
    sums_up = completeness(*sums(coarse, differences), question.subject.half_precision).ok
    return coarse if sums_up else question.answered(question.problem().finer)


def _time_up(judged: Judged) -> Check:
    """A check that has failed: there was no time for the others."""
    done = ", ".join(check.name for check in judged.checks) or "nothing"
    return Check(
        name="time",
        value=float(len(judged.checks)),
        threshold=float(len(judged.checks) + 1),
        ok=False,
        meaning=f"the time was up before all was checked ({done} was)",
    )


def _told(
    question: AttributionQuestion,
    found: AttributionMap,
    differences: dict[str, list[float]],
    judged: Judged,
    beside: _Beside,
    started: float,
) -> Attribution:
    """Values, checks and what they mean."""
    example = question.example
    flat = [difference for group in differences.values() for difference in group]
    score_input = float(question.score.of(question.output)[0])
    answers = question.reading.answers(question.output, [example]).columns(question.reading.classes)
    n_segments = len(question.segments)
    return Attribution(
        id=identity(question, is_whole=judged.is_whole),
        origin=question.subject.origin,
        example=example,
        prediction=str(answers.get("prediction", answers.get("predicted_value", [""]))[0]),
        label=None if example.label is None else str(answers.get("label", [example.label])[0]),
        score=question.score,
        score_input=score_input,
        score_baseline=score_input - sum(flat) / len(flat),
        method=question.settings.method,
        baselines=tuple(found.raw),
        found=found,
        shown=found.values if beside.shown is None else beside.shown,
        unstable=torch.zeros(n_segments).bool() if judged.unstable is None else judged.unstable,
        checks=tuple(judged.checks),
        method_check=judged.of_method,
        compared=judged.compared,
        changed=beside.changed,
        given=given_columns(
            example.input, question.all_references, question.segments, question.examples
        ),
        phrase=beside.phrase,
        warnings=beside.warnings,
        forwards=question.cost.forwards,
        seconds=time.perf_counter() - started,
        seed=question.settings.seed,
        params=_params(question, found),
    )


def _params(question: AttributionQuestion, found: AttributionMap) -> dict[str, Json]:
    """What to ask, to ask the same again; defaults as what they came to."""
    settings = question.settings
    return {
        **found.params,
        "baselines": {name: len(group) for name, group in question.references.items()},
        "segments": question.segments.how,
        "compare": settings.compared,
        "all_checks": settings.check,
        "embedding": settings.embedding,
        "batch": settings.batch,
        "seed": settings.seed,
    }


def _shown(question: AttributionQuestion, found: AttributionMap) -> Tensor:
    """The values; of an occluded grid those of a window that slides over it."""
    if question.settings.method != "occlusion" or not question.segments.is_grid:
        return found.values
    groups = question.references.values()
    maps = [sliding_occlusion(question.problem(), references) for references in groups]
    return torch.stack(maps).mean(0)


def _changed(question: AttributionQuestion) -> tuple[Changed, ...] | None:
    """Answers that come instead where parts are hidden: of occlusion, and of classes."""
    if question.settings.method != "occlusion" or question.score.target is None:
        return None
    classes = question.reading.classes
    return changed_answers(
        question.problem(),
        question.all_references,
        question.predictions,
        lambda index: class_name(index, classes),
    )


def _phrase(question: AttributionQuestion, found: AttributionMap) -> Phrase | None:
    """What neighbouring tokens do together, where the parts are tokens."""
    is_text = question.examples.modality is Modality.TEXT
    if not is_text or question.segments.how != "token":
        return None
    return strongest_phrase(question.problem(), question.all_references, found.per_segment)


def _steps(progress: Progress, of: int) -> Callable[[], None]:
    done = 0

    def finished() -> None:
        nonlocal done
        done += 1
        progress(min(done, of), of)

    return finished


def identity(question: AttributionQuestion, *, is_whole: bool = True) -> str:
    """Equal for equal questions to equal weights; an answer that is not whole has its own."""
    settings = question.settings
    return identity_of(
        {
            "checkpoint": question.subject.identity,
            "digest": question.example.digest,
            "method": settings.method,
            "target": question.score.target,
            "other": question.score.other,
            "kind": question.score.kind,
            "baselines": list(question.references),
            "segments": question.segments.names,
            "samples": settings.samples,
            "compare": settings.compared,
            "seed": settings.seed,
            "check": settings.check,
            **({} if is_whole else {"is_whole": False}),
        }
    )
