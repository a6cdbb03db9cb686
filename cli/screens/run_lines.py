"""One-line descriptions of a run: how it ended, what was trained, what recording it cost."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Cell, Span, Style
from telemetry.cli.output.texts import plural
from telemetry.format.manifest import Status
from telemetry.json_values import Json, json_integer, json_list, json_number

if TYPE_CHECKING:
    from telemetry.store.runs.flight_rows import LostSteps
    from telemetry.store.runs.run import Run
    from telemetry.store.summaries.summaries import Description, Footprint, Timing
    from telemetry.store.summaries.trained_parameters import TrainedParameters

DENSER = 2.0  # cadence at the end over the mean from which on both are told apart
STATUS_STYLES = {
    Status.RUNNING: Style.INFO,
    Status.FINISHED: Style.PLAIN,
    Status.FAILED: Style.ERROR,
    Status.KILLED: Style.WARNING,
    Status.UNREADABLE: Style.ERROR,
}
# Settings of an optimizer that a reader looks for first; others are in --json.
OPTIMIZER_KEYS = ("lr", "momentum", "betas", "weight_decay")
SHOWN_NAMES = 6  # of parameters
ERROR_WIDTH = 60  # characters of the message that ended a run


def headline(run: "Run", timing: "Timing") -> tuple[Cell, ...]:
    """Name, short id, and how far the run came."""
    place = f"{run.project}/{run.name}" if run.project != "default" else run.name
    cells: list[Cell] = [
        Span(place, Style.STRONG),
        run.short,
        Span(_ending(run, timing), STATUS_STYLES[run.status]),
    ]
    n_attempts = count_attempts(run)
    if n_attempts > 1:
        cells.append(plural(n_attempts, "attempt"))
    if run.tags:
        cells.append("tags " + ", ".join(run.tags))
    return tuple(cells)


def count_attempts(run: "Run") -> int:
    """Process lives of a run; one that was killed in its first second is in no list."""
    return max((one.attempt for one in run.manifest.attempts), default=0) if run.manifest else 0


def _ending(run: "Run", timing: "Timing") -> str:
    steps = plural(run.steps, "step")
    text = {
        Status.RUNNING: f"running, {steps} so far",
        Status.FINISHED: f"finished, {steps}",
        Status.FAILED: f"failed after {steps}",
        Status.KILLED: f"killed after {steps}",
        Status.UNREADABLE: "unreadable",
    }[run.status]
    if timing.elapsed_s > 0:
        text += f" in {numbers.duration(timing.elapsed_s)}"
    error = run.manifest.error if run.manifest else None
    return f"{text}: {error_text(error)}" if error else text


def error_text(error: Mapping[str, Json]) -> str:
    """Type and first line of what ended a run."""
    message = (str(error.get("message") or "").splitlines() or [""])[0]
    kind = str(error.get("type") or "error")
    return f"{kind}: {message[:ERROR_WIDTH]}" if message else kind


def lost_lines(run: "Run", lost: "Sequence[LostSteps]") -> list[str]:
    """What is missing between the steps of a run, and what else could not be written."""
    n_rows, n_values = run.dropped_rows, run.refused_values
    dropped = [f"{plural(n_rows, 'row')} could not be written"] if n_rows else []
    what = plural(n_values, "value")
    refused = [f"{what} of losses and metrics could not be written: not a single number"]
    return [*dropped, *(refused if n_values else [])] + [
        f"{plural(hole.last - hole.first + 1, 'step')}, {numbers.steps(hole.first, hole.last)}: "
        f"not yet on disk when the process of attempt {hole.attempt} ended"
        for hole in lost
    ]


def model_line(description: "Description") -> str:
    """`GPT, 41 modules, 148 tensors, 6.9 M parameters; AdamW lr 0.003`; '' when not recorded."""
    parts = [_model(description.model)] if description.model else []
    parts += [_optimizer(optimizer) for optimizer in description.optimizers]
    return "; ".join(parts)


def trained_line(trained: "TrainedParameters") -> str:
    """`trainable 8.9 k of 13.8 k; frozen: c1.weight, c1.bias`; '' when nothing was recorded."""
    if not trained.n_elements and not trained.n_foreign:
        return ""
    trainable = numbers.large_count(trained.n_trainable)
    parts = [f"trainable {trainable} of {numbers.large_count(trained.n_elements)}"]
    for title, names in (
        ("frozen", trained.frozen),
        ("in no optimizer", trained.without_optimizer),
    ):
        if names:
            more = len(names) - SHOWN_NAMES
            text = ", ".join(names[:SHOWN_NAMES])
            parts.append(f"{title}: {text}" + (f" and {more} more" if more > 0 else ""))
    if trained.n_foreign:
        parts.append(f"{trained.n_foreign} tensors of the optimizer are not the model's")
    return "; ".join(parts)


def _model(model: Mapping[str, Json]) -> str:
    counts = [f"{_count(model, key)} {key}" for key in ("modules", "tensors", "parameters")]
    return ", ".join([str(model.get("model", "model")), *counts, *_places(model)])


def _count(model: Mapping[str, Json], key: str) -> str:
    value = model.get(key)
    known = json_integer(value, least=0)
    return "?" if known is None else numbers.large_count(known)


def _places(model: Mapping[str, Json]) -> list[str]:
    lists = [model.get(key) for key in ("devices", "dtypes")]
    words = [str(word) for found in lists if isinstance(found, list) for word in found]
    return [" ".join(words)] if words else []


def _optimizer(optimizer: Mapping[str, Json]) -> str:
    groups = optimizer.get("groups")
    first = groups[0] if isinstance(groups, list) and groups else {}
    group = first if isinstance(first, Mapping) else {}
    settings = [f"{key} {_setting(group[key])}" for key in OPTIMIZER_KEYS if group.get(key)]
    n_groups = len(groups) if isinstance(groups, list) else 1
    more = [plural(n_groups, "group")] if n_groups > 1 else []
    name = " ".join([str(optimizer.get("class", "optimizer")), *settings[:1]])
    return ", ".join([name, *settings[1:], *more])


def _setting(value: Json) -> str:
    entries = json_list(value)
    if entries:
        return " ".join(numbers.literal(item) for item in entries)
    return numbers.literal(value)


def capture_line(
    run: "Run", description: "Description", timing: "Timing", footprint: "Footprint"
) -> str:
    """`22 of 516 steps sampled, every 10 steps, overhead 0.6 %, 31 MB, 71 B per tensor row`."""
    cadence, overhead = cadence_of(run, description), overhead_of(run, timing)
    per_row = footprint.bytes_per_tensor_row
    parts = [
        f"{footprint.n_samples} of {plural(run.steps, 'step')} sampled",
        _cadence(cadence, every_of(run), mean=run.steps / max(footprint.n_samples, 1)),
        "" if overhead is None else _overhead(run, overhead, timing.elapsed_s),
        numbers.size(footprint.n_bytes),
        "" if per_row is None else f"{per_row:.0f} B per tensor row",
    ]
    return ", ".join(part for part in parts if part)


def _cadence(cadence: int | None, asked: int | None, *, mean: float) -> str:
    """How often it was sampled; most runs more often at their start, as `mean` steps tell."""
    if cadence is None:
        return ""
    text = f"every {plural(cadence, 'step') if cadence > 1 else 'step'}"
    is_refused = asked is not None and asked < cadence
    if is_refused:
        return f"{text} at the end instead of every {asked}"
    return f"{text} at the end" if cadence > DENSER * mean else text


def _overhead(run: "Run", share: float, elapsed_s: float) -> str:
    # The seconds as well: of a short run an allowance of two seconds is a large share.
    stated = json_number(run.manifest.summary.get("overhead_s")) if run.manifest else None
    spent_s = share * elapsed_s if stated is None else stated
    text = f"overhead {numbers.percent(share)}"
    return f"{text} ({numbers.duration(spent_s)})" if spent_s > 0 else text


def every_of(run: "Run") -> int | None:
    """Every which step was to be sampled; None: the budget decides, or nobody says."""
    stated = run.manifest.summary.get("every") if run.manifest else None
    return json_integer(stated, least=1)


def cadence_of(run: "Run", description: "Description") -> int | None:
    """Every which step is sampled at the end, by the manifest or the last event."""
    stated = run.manifest.summary.get("cadence") if run.manifest else None
    known = json_integer(stated, least=1)
    return description.cadence if known is None else known


def overhead_of(run: "Run", timing: "Timing") -> float | None:
    """Telemetry's share of the training time: as measured at close, else from the steps."""
    stated = run.manifest.summary.get("overhead_share") if run.manifest else None
    known = json_number(stated)
    if known is not None:
        return known
    return timing.overhead_share if timing.overhead_share == timing.overhead_share else None
