"""A finding on an output and the target that it meets."""

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.evidence.loss_pairs import LossPair, Measure
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example


def pair_candidate(
    pair: LossPair,
    size: Size,
    *,
    message: str,
    advice: str,
    measure: Measure,
    columns: str,
) -> Candidate:
    """A finding on how an output and a target meet, which holds on all sampled steps.

    Args:
        pair: The output and the target.
        size: How much it harms.
        message: What was seen.
        advice: What to do.
        measure: Value and limit.
        columns: Of `loss_graphs`, that show it.
    """
    return Candidate(
        strength=exact(size),
        message=message,
        advice=advice,
        layer=pair.layer,
        first_step=int(pair.steps[0]),
        last_step=int(pair.steps[-1]),
        value=measure.value,
        threshold=measure.limit,
        unit=measure.unit,
        earliest=0,
        evidence={
            "operation": pair.operation,
            "head": pair.head,
            "n_steps": len(set(pair.steps.tolist())),
            "query": example("loss_graphs", columns, where="pair is not null"),
        },
    )
