"""The learning rate does not follow the course that was meant.

Symptom: the rate is zero before the end of the run, or in all of it; or a thousandth of its peak
for half of it; or falls to a thousandth in one step and stays there for a fifth of the run; or it
jumps to four times anything before, and the loss doubles or loses half of its fall; or it is what
it was at the start after a resume, although it had decayed; or a cosine whose period is shorter
than an epoch is stepped in every batch; or a schedule made for every step is called once an epoch;
or ReduceLROnPlateau, in the wrong mode for what it watches, cuts the rate because that improves;
or it falls so fast from the start that half of all that the rates add up to is spent in the first
eighth of the steps, and the run gains little; or a finished run is still in its warm-up at the last
step, with three quarters of its loss left.
Fix: give the scheduler the number of its calls: steps if it is called in every step, epochs if once
an epoch; restore its state on resume.
Not flagged: constant rates; rates that fall along a line or a cosine, by equal factors to a
hundredth, or with the root of the steps (half is spent in 29, 27, 15 and 25 %); warm-up from zero,
warm restarts and cycles (jumps to what has been), the end of a cosine or one-cycle schedule, cuts
of ReduceLROnPlateau in the mode that is right for what it watches; a rate of zero in a group while
others train. Information: a scheduler called before the first step of the optimizer; a rate that
has become tiny, but no less than a hundred-thousandth at once, when the loss had fallen to a
quarter.
Source: Humbatova et al., arXiv:1910.11015; Loshchilov and Hutter, arXiv:1608.03983.

Rules about epochs hold for loops over a torch DataLoader; there alone are epochs known.
"""

from collections.abc import Iterator

import numpy as np

from telemetry.diagnose.analyses.scheduler_calls import Deviation, wrong_calls
from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.rate_course import Course, course_of
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import is_warming_up
from telemetry.diagnose.judgement.progress import State
from telemetry.diagnose.judgement.robust import median
from telemetry.diagnose.judgement.severity import Size, exact, measured, statistical
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

ID = "schedule"
MIN_STEPS = 20
ZERO_SHARE = 0.05  # of the steps, at the end
ZERO_ERROR = 0.3
ZERO_STEPS = 300  # without any rate: an error, as a loss that does not fall
NO_RATE = 1e-7  # of the peak: where a float32 weight no longer moves
STILL_RATE = 1e-5  # of the peak: steps of 2^-7 of the weights and less are then below float32's
TINY_RATE = 1e-3  # of the peak
TINY_SHARE = 0.5  # of the steps; a cosine spends 2 % there, an exponential to 1e-5 40 %
EARLY_SHARE = 1 / 8  # of the steps, in which half of all rates together is spent
EARLY_FAR = 1 / 16
STILL_HIGH = 0.1  # of its peak: another group trains on
DROP_SHARE = 0.2  # of the steps, after a fall to a thousandth in one step: decays take a tenth
JUMP = 4.0  # over anything before
RISE = 2.0  # of the loss after it
LEVEL_SHARE = 0.5  # of the first loss: a small loss that doubles is no harm
LEARNED_SHARE = 0.25  # of the first loss: a fall that can be lost ...
LOST_SHARE = 0.5  # ... and is, by so much of it
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
SELECT 'watched' AS what, s.step, s.attempt, s.watched_value, 0 AS calls, 0 AS epoch, '' AS name
FROM steps AS s
WHERE s.run = $run AND s.watched_value IS NOT NULL
UNION ALL
SELECT 'metric' AS what, s.step, s.attempt, m.value, 0 AS calls, 0 AS epoch, m.name
FROM steps AS s
JOIN metrics AS m ON m.run = s.run AND m.value = s.watched_value
WHERE s.run = $run AND m.step <= s.step
UNION ALL
SELECT
    'scheduler' AS what, e.step, e.attempt, 0.0 AS value, 0 AS calls, 0 AS epoch, e.payload AS name
FROM events AS e
WHERE e.run = $run
    AND e.kind = 'scheduler'
ORDER BY what, step, attempt, name
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The worst of what the course of the rate shows."""
    course = course_of(rows)
    if course.steps.size < MIN_STEPS or not course.peak >= 0:
        return NotChecked(
            detector=ID,
            reason=f"{course.steps.size} steps have a learning rate; at least {MIN_STEPS} are "
            "needed: pass the optimizer that the loop steps",
        )
    found = list(_deviations(course, context, limits))
    return [_candidate(each, found, course, context) for each in found]


def _candidate(
    worst: Deviation, found: list[Deviation], course: Course, context: RunContext
) -> Candidate:
    return Candidate(
        strength=worst.strength,
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
            "others": [other.message for other in found if other is not worst],
            "state": context.progress.state,
            "query": example("steps", "step, lr, scheduler_calls, epoch"),
        },
    )


def _deviations(course: Course, context: RunContext, limits: Limits) -> Iterator[Deviation]:
    gone = list(_rate_is_gone(course, context, limits))
    yield from gone or _spent_early(course, context, limits)
    yield from _jump(course, context, limits)
    yield from _forgotten_on_resume(course, limits)
    yield from _endless_warm_up(course, context)
    yield from wrong_calls(course, context)


def _rate_is_gone(course: Course, context: RunContext, limits: Limits) -> Iterator[Deviation]:
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
        yield Deviation(
            strength=exact(Size.TOTAL if is_error else Size.CLEAR),
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
        size = Size.SLIGHT if is_meant else Size.CLEAR
        yield _tiny_rate(course, tiny, advice, size, limits["drop_share"])
    elif (
        tiny > limits["tiny_share"] * n
        and course.n_calls
        and "ReduceLROnPlateau" not in course.names
    ):
        size = Size.SLIGHT if context.recovered else Size.CLEAR
        yield _tiny_rate(course, tiny, advice, size, limits["tiny_share"])


def _falls_at_once(course: Course, place: int) -> bool:
    """From one step to the next to a thousandth."""
    return place > 0 and float(course.lr[place]) <= TINY_RATE * float(course.lr[place - 1])


def _tiny_rate(course: Course, tiny: int, advice: str, size: Size, limit: float) -> Deviation:
    n = course.steps.size
    return Deviation(
        strength=measured(size),
        message=f"the learning rate is below {TINY_RATE:g} of its peak {number(course.peak)} in "
        f"the last {tiny} of {n} steps",
        advice=advice,
        first_step=int(course.steps[n - tiny]),
        value=tiny / n,
        threshold=limit,
        unit="share",
    )


def _spent_early(course: Course, context: RunContext, limits: Limits) -> Iterator[Deviation]:
    """What the rates add up to is how far weights can get; here most of it is gone at once."""
    n, total = course.steps.size, float(course.lr.sum())
    peak = int(np.argmax(course.lr))
    goes_on = any(rates[-1] > STILL_HIGH * rates.max() for _, rates in course.groups.values())
    is_asked = "ReduceLROnPlateau" in course.names or goes_on
    if n < UNFINISHED_STEPS or not total > 0 or is_asked or context.recovered:
        return
    half = int(np.searchsorted(np.cumsum(course.lr[peak:]), float(course.lr[peak:].sum()) / 2)) + 1
    share = half / (n - peak)
    if share > limits["early_share"]:
        return
    yield Deviation(
        strength=statistical(Size.FAR if share <= EARLY_FAR else Size.CLEAR),
        message=f"the learning rate falls from {number(course.peak)} at step {course.steps[peak]} "
        f"to {number(float(course.lr[-1]))}, and so fast that half of what the rates of all steps "
        f"add up to is spent in {half} of {n - peak} steps",
        advice="Let the rate fall over the whole run: call a scheduler that was made for epochs "
        "once an epoch, or multiply its length by the number of batches.",
        first_step=int(course.steps[min(peak + half, n - 1)]),
        value=share,
        threshold=limits["early_share"],
        unit="share",
    )


def _jump(course: Course, context: RunContext, limits: Limits) -> Iterator[Deviation]:
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
        yield Deviation(
            strength=measured(),
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


def _forgotten_on_resume(course: Course, limits: Limits) -> Iterator[Deviation]:
    """The first rate of a resumed attempt is that of the start again."""
    changes = np.flatnonzero(np.diff(course.attempts) != 0) + 1
    for place in changes:
        former, latter = float(course.lr[place - 1]), float(course.lr[place])
        if former > 0 and latter >= limits["jump"] * former and latter >= course.lr[0]:
            yield Deviation(
                strength=measured(),
                message=f"the learning rate restarts at {number(latter)} after the resume at "
                f"step {course.steps[place]}; before, it had decayed to {number(former)}",
                advice="Save scheduler.state_dict() with the checkpoint and load it on resume.",
                first_step=int(course.steps[place]),
                value=latter / former,
                threshold=limits["jump"],
                unit="times",
            )
            return


def _endless_warm_up(course: Course, context: RunContext) -> Iterator[Deviation]:
    """A straight rise from the first step to the last of a run that has ended by itself."""
    n, rise = course.steps.size, float(course.lr[-1] - course.lr[0])
    ended = context.finished and n >= (context.total_steps or UNFINISHED_STEPS)
    if not ended or n < UNFINISHED_STEPS or (np.diff(course.lr) < 0).any():
        return
    line = np.linspace(course.lr[0], course.lr[-1], n)
    straight = rise > 0 and float(np.abs(course.lr - line).max()) <= STRAIGHT * rise
    level = context.baseline.naive or context.progress.start
    left = context.progress.measurable and context.progress.end >= LEFT_SHARE * level
    if is_warming_up(course.lr) and straight and left:
        yield Deviation(
            strength=measured(),
            message=f"the learning rate is still warming up at the last of {n} steps: it rose "
            f"from {number(float(course.lr[0]))} to {number(float(course.lr[-1]))}, and "
            f"the loss is still {context.progress.end / level:.0%} of its first value",
            advice="End the warm-up within the first tenth of the run: check whether its length "
            "is counted in steps or in epochs.",
            first_step=int(course.steps[0]),
            value=1.0,
            threshold=0.1,
            unit="share",
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
        "early_share": EARLY_SHARE,
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
