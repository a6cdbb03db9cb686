"""A layer takes the samples of a batch for a sequence, or for classes; or a view tears them.

Symptom: a recurrent layer or nn.MultiheadAttention runs over as many steps as the batch has
samples, while the sequences are independent of each other; or the values of a softmax add up to one
over the samples instead of over the classes; or a view takes parts of several samples for one, as
states of (directions, batch, width) that are viewed as (batch, directions x width). Each answer
then depends on the rest of its batch.
Fix: batch_first=True where inputs are (batch, time, features), or transpose them; softmax(dim=-1);
transpose before the view.
A softmax inside of the network is a warning only where the run gains little or nothing: some
networks compare samples on purpose.
Not flagged: batches whose size is the length of their sequences, and losses that read each place of
a sequence as a row, for there batch and time cannot be separated; networks that run over both axes;
one single sequence; softmaxes over all pairs of samples, or over the scores of a list.
Source: the documentation of torch.nn.LSTM and torch.nn.Softmax; yunjey/pytorch-tutorial, issue 196.
"""

from collections.abc import Mapping

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.counted_events import counted_events_sql, payloads
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import exact, statistical
from telemetry.diagnose.wording import and_more, example
from telemetry.json_values import Json, json_integer, json_list, json_object
from telemetry.store.sessions.rows import Rows

ID = "runs_over_batch"

BATCH_FIRST = "Set batch_first=True, for inputs are (batch, time, features), or transpose them."
TRANSPOSE = (
    "Bring the samples to the front before, as x.transpose(0, 1).reshape(batch, -1), or transpose "
    "in place of the view."
)
OVER_CLASSES = "Take the softmax over the classes, as softmax(dim=-1)."

SQL = counted_events_sql("over_batch", "over_the_batch")


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """What ran over the batch each time that it could be told."""
    del context, limits
    steps, counts = rows.ints("step"), rows.floats("n")
    if not steps.size:
        return NotChecked(
            detector=ID,
            reason="no recurrent layer, attention or softmax was seen whose axes differ in "
            "length (batch and sequence are alike), or the loss reads each place as a row",
        )
    told_of = payloads(rows)
    if not counts.all() or not told_of:
        return None
    told = told_of[0]
    modules = [json_object(entry) for entry in json_list(told.get("modules"))]
    softmaxes = [json_object(entry) for entry in json_list(told.get("softmaxes"))]
    views = [json_object(entry) for entry in json_list(told.get("views"))]
    n_samples = json_integer(told.get("n_samples")) or 0
    layers = tuple(dict.fromkeys(str(entry.get("module")) for entry in modules))
    is_sure = bool(modules or views) or any(entry.get("is_output") is True for entry in softmaxes)
    if modules:
        message, advice = _of_modules(layers, modules[0]), BATCH_FIRST
    elif views:
        message, advice = _of_view(views[0], n_samples), TRANSPOSE
    else:
        message, advice = _of_softmax(softmaxes[0], n_samples), OVER_CLASSES
    return Candidate(
        strength=exact() if is_sure else statistical(),
        message=message,
        advice=advice,
        layer=layers[0] if layers else None,
        layers=layers,
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=float(n_samples),
        unit="samples",
        evidence={
            "n_samples": n_samples,
            "query": example("steps", "step, over_batch", where="over_batch is not null"),
        },
    )


def _of_modules(layers: tuple[str, ...], call: Mapping[str, Json]) -> str:
    return (
        f"{and_more(layers)} runs over the {call.get('n_steps')} samples of the batch as over a "
        f"sequence, for each of the {call.get('n_rows')} places of the sequences alone"
    )


def _of_view(view: Mapping[str, Json], n_samples: int) -> str:
    before, after = (
        "x".join(str(size) for size in json_list(view.get(key))) for key in ("before", "after")
    )
    return (
        f"a view from {before} to {after} takes parts of several of the {n_samples} samples for "
        "one: it gives other sizes and moves nothing"
    )


def _of_softmax(softmax: Mapping[str, Json], n_samples: int) -> str:
    shape = "x".join(str(size) for size in json_list(softmax.get("shape")))
    where = "what the loss reads" if softmax.get("is_output") is True else "inside of the network"
    return (
        f"a softmax ({where}, {shape}) adds up to one over the {n_samples} samples of the batch "
        "instead of over the last dimension"
    )


DETECTOR = Detector(
    id=ID,
    title="a layer takes the samples of a batch for a sequence",
    tier=Tier.INVARIANT,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={},
    advice="Set batch_first=True, or transpose the inputs.",
    source="documentation of torch.nn.LSTM and torch.nn.Softmax",
    judge=judge,
    causes=("loss_not_decreasing", "overfitting", "vanishing_through_time", "output_head"),
    shown=Shown(normal="The output for a sample does not depend on the others in its batch."),
)
