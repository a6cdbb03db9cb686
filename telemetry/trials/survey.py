"""Which of many remedies have nothing to change: told by a few replays with all of them at once.

Most of a battery has nothing to do in a training that has one fault. Those that have changed
something in a replay with all are left out, until the rest changes no bit of any loss: each of the
rest alone does not either, and needs no replay of its own.
"""

from collections.abc import Callable, Mapping, Sequence

from telemetry.trials.observed import Missing, Observed, first_difference

FEWEST = 6  # remedies from which on it saves replays
FIRST_STEPS = 20  # of the first replay, in which most that act have done so
Replay = Callable[[tuple[str, ...], int], Observed | Missing]


def without_effect(
    doses: Sequence[str], control: Observed, replay: Replay, *, steps: int
) -> Mapping[str, Observed | Missing]:
    """The remedies that change nothing, each as if it had been replayed; the others are missing.

    Args:
        doses: Of all remedies.
        control: The unchanged replay.
        replay: Runs the script with doses for so many steps.
        steps: Of a whole replay.
    """
    left, length = tuple(doses), min(FIRST_STEPS, steps)
    while len(left) >= FEWEST:
        seen = replay(left, length)
        if isinstance(seen, Missing):
            return {}
        report = seen.report
        calm = (*report.idle, *report.refusals)
        if len(calm) == len(left) and length == steps:
            return _told(seen) if _is_equal(control, seen) else {}
        left, length = tuple(dose for dose in left if dose in calm), steps
    return {}


def _told(seen: Observed) -> Mapping[str, Observed | Missing]:
    refused = {
        dose: Missing(reason=why, is_refused=True) for dose, why in seen.report.refusals.items()
    }
    return {**dict.fromkeys(seen.report.idle, seen), **refused}


def _is_equal(control: Observed, seen: Observed) -> bool:
    left, right = control.losses, seen.losses
    if left is None or right is None or len(left) != len(right):
        return False
    return first_difference(left, right, steps=len(left)) is None
