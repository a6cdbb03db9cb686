"""The forward uses layers that belong neither to the model nor to an optimizer.

Symptom: leaf tensors that require a gradient are in the graph between the model's inputs and its
outputs, the same ones in several forwards; they are no parameters of the model, no optimizer has
them, and nobody changes them. So they keep the values they were made with, are not saved with the
model, and do not move with `.to()`.
Fix: put layers into `nn.ModuleList` or `nn.ModuleDict` instead of a Python list or dictionary, and
tensors into `nn.Parameter`; build the optimizer after that.
In a run that learns all the same it is a warning: a frozen part may be hidden on purpose.
Not flagged: inputs that require a gradient, and what they were computed from; what only the loss
uses (another model, weights of its terms); tensors made in each forward; parameters of any
optimizer that steps; loops without any optimizer. Sharded models (FSDP2) are not looked at.
Source: Humbatova et al., arXiv:1910.11015.
"""

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.counted_events import counted_events_sql, payloads
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example
from telemetry.json_values import json_integer, json_list
from telemetry.store.sessions.rows import Rows

ID = "forgotten_parameters"
NAMED = 3  # layers that a message names

SQL = counted_events_sql("forgotten_parameters", "forgotten_parameters")


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """What the last forward that was looked at uses and nobody trains."""
    del context, limits
    steps, counts = rows.ints("step"), rows.floats("n")
    if not steps.size:
        return NotChecked(
            detector=ID,
            reason="the graph of no two forwards was looked at: the loop has no optimizer, or the "
            "model was not called, was sampled once, or is sharded",
        )
    told_of = payloads(rows)
    if not counts[-1] or not told_of:
        return None
    told = told_of[-1]
    layers = [str(name) for name in json_list(told.get("layers"))]
    more = len(layers) - NAMED
    named = ", ".join(layers[:NAMED]) + (f" and {more} more" if more > 0 else "")
    belong = "belongs" if len(layers) == 1 else "belong"
    return Candidate(
        strength=exact(Size.FAR),
        message=f"the forward uses {named}: {belong} neither to the model nor to an optimizer, "
        "and never changed",
        advice="Put layers into nn.ModuleList or nn.ModuleDict instead of a Python list or "
        "dictionary, and tensors into nn.Parameter; build the optimizer after that. If they are "
        "meant to stay as they are, call requires_grad_(False).",
        first_step=int(steps[counts > 0][0]),
        last_step=int(steps[-1]),
        value=float(counts[-1]),
        threshold=0.0,
        unit="parameters",
        evidence={
            "layers": list(layers),
            "n_elements": json_integer(told.get("n_elements")) or 0,
            "query": example(
                "steps", "step, forgotten_parameters", where="forgotten_parameters is not null"
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="layers that belong neither to the model nor to an optimizer",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(),
    sql=SQL,
    parameters={},
    advice="Put layers into nn.ModuleList instead of a Python list.",
    source="arXiv:1910.11015",
    judge=judge,
    causes=("learning_rate_too_low", "unchanged_parameters"),
    shown=Shown(normal="Each tensor that a forward trains is a parameter of the model."),
)
