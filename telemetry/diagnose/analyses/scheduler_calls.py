"""What schedulers are called with and when, where it is not what they were made for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from telemetry.diagnose.analyses.plateau_mode import wrong_mode
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.evidence.rate_course import Course
from telemetry.diagnose.judgement.severity import Size, Strength, exact, measured
from telemetry.diagnose.wording import number
from telemetry.json_values import Json

STEPS_OF_EPOCH = 5  # at least, or steps and epochs are nearly the same
SHARE_OF_CALLS = 0.9  # of the steps: called in every step
SAME = 0.2  # relative: the plan is the number of steps
LOST_RATE = 0.01  # of the rate before the cuts: what is left trains no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """Where the course of the rate is not the one that was meant."""

    strength: Strength
    message: str
    advice: str
    first_step: int
    value: float
    threshold: float
    unit: str


def wrong_calls(course: Course, context: RunContext) -> Iterator[Deviation]:
    """What contradicts the settings of the schedulers."""
    yield from _wrong_mode(course, context)
    yield from _wrong_unit(course)
    yield from _early_call(course)


def _wrong_mode(course: Course, context: RunContext) -> Iterator[Deviation]:
    """A scheduler that watches a value cuts the rate because the value improves."""
    found = wrong_mode(course, context)
    if found is None:
        return
    watched = course.watched
    before = float(course.lr[course.steps <= watched.steps[found.wrong[0]]][-1])
    after = float(course.lr[-1])
    first, last = watched.values[0], watched.values[found.wrong[-1]]
    times = "once" if len(found.cuts) == 1 else f"{len(found.cuts)} times"
    yield Deviation(
        strength=exact(Size.FAR if after <= LOST_RATE * before else Size.CLEAR),
        message=f"ReduceLROnPlateau watches {found.name} in mode {found.mode}: it cut the "
        f"learning rate {times} while that improved from {number(float(first))} to "
        f"{number(float(last))}; mode {found.right} would have cut it {found.cuts_if_right} times",
        advice=f"Pass mode='{found.right}' to ReduceLROnPlateau, or give it a metric that "
        f"{'rises' if found.mode == 'max' else 'falls'} as the model gets better.",
        first_step=int(watched.steps[found.wrong[0]]),
        value=float(len(found.cuts)),
        threshold=float(found.cuts_if_right),
        unit="cuts",
    )


def _wrong_unit(course: Course) -> Iterator[Deviation]:
    """A plan in epochs that is called in every step, or in steps that is called once an epoch."""
    n = course.steps.size
    if not course.n_epochs or n < STEPS_OF_EPOCH * course.n_epochs or course.n_epochs < 2:  # noqa: PLR2004 - one epoch has no next
        return
    per_epoch = n / course.n_epochs
    for settings in course.schedulers:
        name, plan = str(settings.get("class")), _plan(settings)
        if plan is None:
            continue
        in_steps = abs(plan - n) <= SAME * n
        if in_steps and course.n_calls <= 1.5 * course.n_epochs:
            yield _deviation_of_unit(
                (
                    f"{name} is set to {plan} calls, the number of steps, but is called once per "
                    f"epoch: {course.n_calls} times"
                ),
                f"Call the scheduler in every step, or set it to {course.n_epochs} calls.",
                course.n_calls / plan,
            )
        cycles = course.n_calls / (2 * plan)
        in_every_step = course.n_calls >= SHARE_OF_CALLS * n
        is_short = plan <= per_epoch / 2 and cycles >= 2  # noqa: PLR2004 - twice up and down
        if name == "CosineAnnealingLR" and in_every_step and is_short:
            yield _deviation_of_unit(
                (
                    f"{name} with T_max={plan} is called in every step, and an epoch has "
                    f"{per_epoch:.0f} steps: the learning rate goes up and down {cycles:.0f} times"
                ),
                f"Call the scheduler once per epoch, or set T_max to {n}.",
                cycles,
            )


def _plan(settings: Mapping[str, Json]) -> int | None:
    """Calls after which a scheduler is through."""
    found = (settings.get(key) for key in ("T_max", "total_steps", "total_iters"))
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _deviation_of_unit(message: str, advice: str, value: float) -> Deviation:
    return Deviation(
        strength=measured(),
        message=message,
        advice=advice,
        first_step=0,
        value=value,
        threshold=1.0,
        unit="times",
    )


def _early_call(course: Course) -> Iterator[Deviation]:
    early = [entry for entry in course.schedulers if entry.get("steps_before") == 0]
    if early:
        yield Deviation(
            strength=measured(Size.SLIGHT),
            message=f"{early[0].get('class')} was called before the optimizer's first step, so "
            "its first learning rate was skipped",
            advice="Call scheduler.step() after optimizer.step().",
            first_step=0,
            value=1.0,
            threshold=0.0,
            unit="calls",
        )
