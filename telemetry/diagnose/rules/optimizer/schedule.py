"""The learning rate does not follow the course that was meant.

Symptom: the rate is zero before the end of the run, or in all of it; or a thousandth of its peak
for half of it; or falls to a thousandth in one step and stays there for a fifth of the run; or it
jumps to four times anything before, and the loss doubles or loses half of its fall; or it is what
it was at the start after a resume, although it had decayed; or a cosine whose period is shorter
than an epoch is stepped in every batch; or a schedule made for every step is called once an epoch;
or a finished run is still in its warm-up at the last step, with three quarters of its loss left.
Fix: give the scheduler the number of its calls: steps if it is called in every step, epochs if once
an epoch; restore its state on resume.
Not flagged: constant rates, warm-up from zero, warm restarts and cycles (jumps to what has been),
the end of a cosine or one-cycle schedule, ReduceLROnPlateau; a rate of zero in one group while
others train. Information: a scheduler called before the first step of the optimizer; a rate that
has become tiny, but no less than a hundred-thousandth at once, when the loss had fallen to a
quarter.
Source: Humbatova et al., arXiv:1910.11015; Loshchilov and Hutter, arXiv:1608.03983.

Rules about epochs hold for loops over a torch DataLoader; there alone are epochs known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.rate_course import Course, course_of
from telemetry.diagnose.finding import Finding, NotChecked, Severity
from telemetry.diagnose.judgement.gates import is_warming_up
from telemetry.diagnose.judgement.progress import State
from telemetry.diagnose.judgement.robust import median
from telemetry.diagnose.wording import example, number
from telemetry.json_values import Json
from telemetry.store.rows import Rows

ID = "schedule"
MIN_STEPS = 20
ZERO_SHARE = 0.05  # of the steps, at the end
ZERO_ERROR = 0.3
ZERO_STEPS = 300  # without any rate: an error, as a loss that does not fall
NO_RATE = 1e-7  # of the peak: where a float32 weight no longer moves
STILL_RATE = 1e-5  # of the peak: steps of 2^-7 of the weights and less are then below float32's
TINY_RATE = 1e-3  # of the peak
TINY_SHARE = 0.5  # of the steps; a cosine spends 2 % there, an exponential to 1e-5 40 %
DROP_SHARE = 0.2  # of the steps, after a fall to a thousandth in one step: decays take a tenth
JUMP = 4.0  # over anything before
RISE = 2.0  # of the loss after it
LEVEL_SHARE = 0.5  # of the first loss: a small loss that doubles is no harm
LEARNED_SHARE = 0.25  # of the first loss: a fall that can be lost ...
LOST_SHARE = 0.5  # ... and is, by so much of it
STEPS_OF_EPOCH = 5  # at least, or steps and epochs are nearly the same
SHARE_OF_CALLS = 0.9  # of the steps: called in every step
SAME = 0.2  # relative: the plan is the number of steps
LEFT_SHARE = 0.75  # of the level: a run that has come further was short, not starved
UNFINISHED_STEPS = 100
STRAIGHT = 0.1  # of the whole rise: how far a warm-up is from a straight line; a range test is not

SQL = """
SELECT
    'step' AS what,
    s.step,
    s.attempt,
    MAX(s.lr) AS value,
    MAX(s.scheduler_calls) AS calls,
    MAX(s.epoch) AS epoch,
    '' AS name
FROM steps AS s
WHERE s.run = $run
    AND s.lr IS NOT NULL
GROUP BY s.step, s.attempt
UNION ALL
SELECT
    'group' AS what, m.step, m.attempt, m.value, 0 AS calls, 0 AS epoch, m.name
FROM metrics AS m
WHERE m.run = $run
    AND m.name LIKE 'lr/%'
UNION ALL
SELECT
    'scheduler' AS what, e.step, e.attempt, 0.0 AS value, 0 AS calls, 0 AS epoch, e.payload AS name
FROM events AS e
WHERE e.run = $run
    AND e.kind = 'scheduler'
ORDER BY what, step, attempt, name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deviation:
    """Where the course of the rate is not the one that was meant."""

    severity: Severity
    message: str
    advice: str
    first_step: int
    value: float
    threshold: float
    unit: str


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The worst of what the course of the rate shows."""
    course = course_of(rows)
    if course.steps.size < MIN_STEPS or not course.peak >= 0:
        return NotChecked(
            detector=ID,
            reason=f"{course.steps.size} steps have a learning rate; at least {MIN_STEPS} are "
            "needed: pass the optimizer that the loop steps",
        )
    found = sorted(
        _deviations(course, context, limits), key=lambda deviation: deviation.severity.rank
    )
    if not found:
        return None
    worst = found[0]
    return Finding(
        detector=ID,
        severity=worst.severity,
        message=worst.message,
        advice=worst.advice,
        first_step=worst.first_step,
        last_step=int(course.steps[-1]),
        value=worst.value,
        threshold=worst.threshold,
        unit=worst.unit,
        evidence={
            "schedulers": sorted(course.names),
            "scheduler_calls": course.n_calls,
            "epochs": course.n_epochs,
            "others": [deviation.message for deviation in found[1:]],
            "state": context.progress.state,
            "query": example("steps", "step, lr, scheduler_calls, epoch"),
        },
    )


def _deviations(course: Course, context: RunContext, limits: Limits) -> Iterator[_Deviation]:
    yield from _rate_is_gone(course, context, limits)
    yield from _jump(course, context, limits)
    yield from _forgotten_on_resume(course, limits)
    yield from _wrong_unit(course)
    yield from _endless_warm_up(course, context)
    yield from _early_call(course)


def _rate_is_gone(course: Course, context: RunContext, limits: Limits) -> Iterator[_Deviation]:
    """Zero before the end, or tiny for most of the run by a scheduler that was not asked to."""
    n = course.steps.size
    zero, tiny = course.tail(NO_RATE), course.tail(TINY_RATE)
    advice = (
        "Set the scheduler's length to the number of its calls: all optimizer steps if it is "
        "called in every step, the epochs if it is called once per epoch."
    )
    if zero > limits["zero_share"] * n:
        is_error = zero > limits["zero_error"] * n
        where = f"the last {zero} of {n} steps"
        if course.peak == 0:  # optimizers that find their own steps may name none
            if context.progress.state in {State.LEARNING, State.CONVERGED}:
                return
            # A warm-up that is stepped once an epoch starts so, and is still to come.
            has_plan = bool(course.names or course.n_calls) and not context.finished
            is_error, where = n >= ZERO_STEPS or not has_plan, f"all {n} steps"
            advice = (
                "Check the learning rate given to the optimizer, and the scheduler's first factor."
            )
        yield _Deviation(
            severity=Severity.ERROR if is_error else Severity.WARNING,
            message=f"the learning rate is zero in {where} (limit {limits['zero_share']:.0%})",
            advice=advice,
            first_step=int(course.steps[n - zero]),
            value=zero / n,
            threshold=limits["zero_share"],
            unit="share",
        )
    elif tiny > limits["drop_share"] * n and _falls_at_once(course, n - tiny):
        # A second stage at a thousandth may be meant where the run is well; one at nothing is not.
        is_meant = context.recovered and course.lr[n - tiny :].max() > STILL_RATE * course.peak
        severity = Severity.INFO if is_meant else Severity.WARNING
        yield _tiny_rate(course, tiny, advice, severity, limits["drop_share"])
    elif (
        tiny > limits["tiny_share"] * n
        and course.n_calls
        and "ReduceLROnPlateau" not in course.names
    ):
        severity = Severity.INFO if context.recovered else Severity.WARNING
        yield _tiny_rate(course, tiny, advice, severity, limits["tiny_share"])


def _falls_at_once(course: Course, place: int) -> bool:
    """From one step to the next to a thousandth."""
    return place > 0 and float(course.lr[place]) <= TINY_RATE * float(course.lr[place - 1])


def _tiny_rate(
    course: Course, tiny: int, advice: str, severity: Severity, limit: float
) -> _Deviation:
    n = course.steps.size
    return _Deviation(
        severity=severity,
        message=f"the learning rate is below {TINY_RATE:g} of its peak {number(course.peak)} in "
        f"the last {tiny} of {n} steps",
        advice=advice,
        first_step=int(course.steps[n - tiny]),
        value=tiny / n,
        threshold=limit,
        unit="share",
    )


def _jump(course: Course, context: RunContext, limits: Limits) -> Iterator[_Deviation]:
    """Beyond anything before, and the loss doubles: no warm-up, no restart."""
    before = np.maximum.accumulate(course.lr)[:-1]
    jumps = np.flatnonzero((before > 0) & (course.lr[1:] >= limits["jump"] * before)) + 1
    for place in jumps[jumps >= MIN_STEPS]:
        step = int(course.steps[place])
        at = int(np.searchsorted(context.loss_steps, step))
        former = median(context.losses[max(0, at - MIN_STEPS) : at])
        after = context.losses[at + 1 :]
        later = float("inf") if not np.isfinite(after).all() else median(after[:MIN_STEPS])
        if context.recovered or not _sets_back(former, later, first=context.first_loss):
            continue
        yield _Deviation(
            severity=Severity.WARNING,
            message=f"the learning rate jumps from {number(float(course.lr[place - 1]))} to "
            f"{number(float(course.lr[place]))} at step {step}, and the loss from "
            f"{number(former)} to {number(later)}",
            advice=f"Look at what sets the learning rate at step {step}; if it is meant to "
            "rise, raise it over some hundred steps.",
            first_step=step,
            value=float(course.lr[place] / before[place - 1]),
            threshold=limits["jump"],
            unit="times",
        )
        return


def _sets_back(former: float, later: float, *, first: float) -> bool:
    """The loss doubles and is no small one, or loses half of what it had fallen by."""
    fall = first - former
    is_lost = fall >= LEARNED_SHARE * first > 0 and later - former >= LOST_SHARE * fall
    return is_lost or later >= max(RISE * former, LEVEL_SHARE * first)


def _forgotten_on_resume(course: Course, limits: Limits) -> Iterator[_Deviation]:
    """The first rate of a resumed attempt is that of the start again."""
    changes = np.flatnonzero(np.diff(course.attempts) != 0) + 1
    for place in changes:
        former, latter = float(course.lr[place - 1]), float(course.lr[place])
        if former > 0 and latter >= limits["jump"] * former and latter >= course.lr[0]:
            yield _Deviation(
                severity=Severity.WARNING,
                message=f"the learning rate restarts at {number(latter)} after the resume at "
                f"step {course.steps[place]}; before, it had decayed to {number(former)}",
                advice="Save scheduler.state_dict() with the checkpoint and load it on resume.",
                first_step=int(course.steps[place]),
                value=latter / former,
                threshold=limits["jump"],
                unit="times",
            )
            return


def _wrong_unit(course: Course) -> Iterator[_Deviation]:
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


def _endless_warm_up(course: Course, context: RunContext) -> Iterator[_Deviation]:
    """A straight rise from the first step to the last of a run that has ended by itself."""
    n, rise = course.steps.size, float(course.lr[-1] - course.lr[0])
    ended = context.finished and n >= (context.total_steps or UNFINISHED_STEPS)
    if not ended or n < UNFINISHED_STEPS or (np.diff(course.lr) < 0).any():
        return
    line = np.linspace(course.lr[0], course.lr[-1], n)
    straight = rise > 0 and float(np.abs(course.lr - line).max()) <= STRAIGHT * rise
    level = context.baseline.naive or context.progress.start
    left = context.progress.measurable and context.progress.end >= LEFT_SHARE * level
    if is_warming_up(course.lr) and straight and left and not context.progress.flat:
        yield _Deviation(
            severity=Severity.WARNING,
            message=f"the learning rate is still warming up at the last of {n} steps: it rose "
            f"from {number(float(course.lr[0]))} to {number(float(course.lr[-1]))}, and "
            f"the loss is still {context.progress.end / level:.0%} of its first value",
            advice="End the warm-up within the first tenth of the run: check whether its length "
            "is counted in steps or in epochs.",
            first_step=int(course.steps[n // 2]),
            value=1.0,
            threshold=0.1,
            unit="share",
        )


def _plan(settings: Mapping[str, Json]) -> int | None:
    """Calls after which a scheduler is through."""
    found = (settings.get(key) for key in ("T_max", "total_steps", "total_iters"))
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _deviation_of_unit(message: str, advice: str, value: float) -> _Deviation:
    return _Deviation(
        severity=Severity.WARNING,
        message=message,
        advice=advice,
        first_step=0,
        value=value,
        threshold=1.0,
        unit="times",
    )


def _early_call(course: Course) -> Iterator[_Deviation]:
    early = [entry for entry in course.schedulers if entry.get("steps_before") == 0]
    if early:
        yield _Deviation(
            severity=Severity.INFO,
            message=f"{early[0].get('class')} was called before the optimizer's first step, so "
            "its first learning rate was skipped",
            advice="Call scheduler.step() after optimizer.step().",
            first_step=0,
            value=1.0,
            threshold=0.0,
            unit="calls",
        )


DETECTOR = Detector(
    id=ID,
    title="the learning rate does not follow its intended schedule",
    tier=Tier.INVARIANT,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={
        "zero_share": ZERO_SHARE,
        "zero_error": ZERO_ERROR,
        "tiny_share": TINY_SHARE,
        "drop_share": DROP_SHARE,
        "jump": JUMP,
    },
    advice=(
        "Set the scheduler's length to the number of its calls, and restore its state on resume."
    ),
    source="arXiv:1910.11015, arXiv:1608.03983",
    judge=judge,
    causes=("learning_rate_too_high", "learning_rate_too_low", "loss_spike"),
    acts_by=(Mechanism.GROWTH,),
    shares=("zero_error",),
    shown=Shown(
        normal="The learning rate follows its schedule over the planned steps: it rises in a "
        "warm-up, and is small only at the end.",
    ),
)
