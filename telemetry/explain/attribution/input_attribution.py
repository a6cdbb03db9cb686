"""Which parts of an input made the model say that: an attribution, and whether to believe it."""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from telemetry.capture.tensors.predictions import class_name
from telemetry.explain.attribution.attribution import Attribution, AttributionMap, Changed
from telemetry.explain.attribution.cautions import warnings_of
from telemetry.explain.attribution.hidden_parts import changed_answers
from telemetry.explain.attribution.question import AttributionQuestion, ask
from telemetry.explain.attribution.sliding import sliding_occlusion
from telemetry.explain.attribution.verification import judge, n_runs
from telemetry.explain.inputs.examples import Example
from telemetry.explain.models.subject import Subject, examples_of
from telemetry.explain.results.identities import identity_of
from telemetry.json_values import Json
from telemetry.requests.explain.input import WRONG, InputSettings

Progress = Callable[[int, int], None]  # runs of methods done, of how many


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
    started = time.perf_counter()
    chosen = examples_of(subject).find(example) if isinstance(example, str) else example
    with subject.running(gradient=True):
        question = ask(subject, chosen, target, settings)
        if progress is not None:
            question = replace(question, finished=_steps(progress, n_runs(question)))
        return _answered(question, started)


def _answered(question: AttributionQuestion, started: float) -> Attribution:
    """Values, checks and what they mean."""
    problem, example = question.problem(), question.example
    found = question.answered(problem)
    differences = {name: problem.differences(group) for name, group in question.references.items()}
    judged = judge(question, found, differences)
    flat = [difference for group in differences.values() for difference in group]
    score_input = float(question.score.of(question.output)[0])
    answers = question.reading.answers(question.output, [example]).columns(question.reading.classes)
    n_segments = len(question.segments)
    return Attribution(
        id=_identity(question),
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
        shown=_shown(question, found),
        unstable=torch.zeros(n_segments).bool() if judged.unstable is None else judged.unstable,
        checks=judged.checks,
        method_check=judged.of_method,
        compared=judged.compared,
        changed=_changed(question),
        warnings=tuple(warnings_of(question, found, judged)),
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


def _steps(progress: Progress, of: int) -> Callable[[], None]:
    done = 0

    def finished() -> None:
        nonlocal done
        done += 1
        progress(min(done, of), of)

    return finished


def _identity(question: AttributionQuestion) -> str:
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
        }
    )
