"""What is the least that must change so that a wrong answer becomes right, and where is the cause?

A wrong input is mixed with a right one, part by part. The least set of parts that mends the answer
is often a fraction of the cause, for half a fault mended is enough; the region, of all parts that
help by themselves, says where the cause lies.
"""

import time
from dataclasses import replace
from pathlib import Path

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example, ExampleSet
from telemetry.explain.inputs.input_files import is_input_file, read_example
from telemetry.explain.models.classifier import Classifier
from telemetry.explain.models.subject import Subject
from telemetry.explain.progress import Progress
from telemetry.explain.reduction.result import Reduction
from telemetry.explain.reduction.search import Search
from telemetry.explain.reduction.twins import BLUR, PLAIN
from telemetry.requests.explain.reduce import BREAK, REPAIR, ReduceSettings


def reduce(
    subject: Subject,
    wrong: str | Example,
    right: str | Example | None = None,
    settings: ReduceSettings | None = None,
    *,
    label: str | None = None,
    progress: Progress | None = None,
) -> Reduction:
    """The least difference between a wrongly answered input and a right one.

    Args:
        subject: Model and examples.
        wrong: Id or place of an example that is answered wrongly, or a file, see `read_input`.
        right: Id or place of one that is answered with the true class of `wrong`, or a file;
            `nearest`: the most similar of that class; `blur`, `mean` or `inpaint`: `wrong` itself,
            blurred, flat, or its parts filled in from around them; None: `nearest`, of images
            `blur`.
        settings: How.
        label: True class or number of the input of a file.
        progress: Told how many mixtures were tried, of how many at most.

    Raises:
        UsageError: an unknown example, two that cannot be mixed, a file without a label, or a
            regression without a tolerance.
        Inconclusive: both are answered alike, or nothing that was tried mends the answer.
    """
    settings, started = settings or ReduceSettings(), time.perf_counter()
    if settings.mode not in {REPAIR, BREAK, None}:
        raise UsageError(f"--mode {settings.mode}: choose {REPAIR} or {BREAK}.")
    with subject.running():
        classifier = Classifier(subject, settings.batch, settings.tolerance)
        chosen = _chosen(wrong, label, classifier.examples)
        search = Search(classifier, chosen, right, settings, progress)
        return search.answer(subject, started)


def flip(
    subject: Subject,
    wrong: str | Example,
    by: str = BLUR,
    settings: ReduceSettings | None = None,
    *,
    label: str | None = None,
) -> Reduction:
    """The least set of cells of a wrongly answered image that, made plain, mends the answer.

    Args:
        subject: Model and examples.
        wrong: See `reduce`.
        by: What cells become: `blur` or `mean`, without their details, or `inpaint`, filled in
            from around them.
        settings: How.
        label: True class of the image of a file.

    Raises:
        UsageError: an unknown way, no image, or as for `reduce`.
        Inconclusive: no set of cells mends the answer.
    """
    if by not in PLAIN:
        raise UsageError(
            f"flip by {by!r}: choose {', '.join(PLAIN)}; `reduce` can use another input."
        )
    return reduce(
        subject, wrong, by, replace(settings or ReduceSettings(), mode=REPAIR), label=label
    )


def _chosen(
    wrong: str | Example, label: str | None, examples: ExampleSet
) -> tuple[Example, str | None]:
    """What is answered wrongly, and the name of its file.

    Raises:
        UsageError: no such example, or one whose class nobody says or two say.
    """
    if isinstance(wrong, str) and label is not None and Path(wrong).suffix:
        return read_example(Path(wrong), examples, label), Path(wrong).name
    if isinstance(wrong, str) and is_input_file(wrong):
        raise UsageError(f"--wrong {wrong}: set the true class with --label CLASS.")
    if label is not None:
        raise UsageError(f"--label {label} is only for --wrong FILE; the data set has labels.")
    return (examples.find(wrong) if isinstance(wrong, str) else wrong), None
