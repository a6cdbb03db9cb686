"""A finding about the steps in which something was seen, of no layer in particular."""

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.judgement.robust import IntArray
from telemetry.diagnose.judgement.severity import Strength


def step_finding(  # noqa: PLR0913 - the parts of a finding
    steps: IntArray,
    *,
    strength: Strength,
    message: str,
    advice: str,
    value: float,
    threshold: float,
    unit: str,
    counted: str,
    query: str,
) -> Candidate:
    """The finding; its first and last step are those of the steps.

    Args:
        steps: In which it was seen, ascending, at least one.
        strength: How sure and how large it is.
        message: What was seen.
        advice: What to change.
        value: Of the statistic.
        threshold: It was held against.
        unit: Of both.
        counted: Key of the number of steps in the evidence.
        query: For the user to run.
    """
    return Candidate(
        strength=strength,
        message=message,
        advice=advice,
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=value,
        threshold=threshold,
        unit=unit,
        evidence={counted: int(steps.size), "query": query},
    )
