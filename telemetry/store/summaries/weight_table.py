"""What a run has recorded of its weights: norm, spread and histogram at one step."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.errors import UsageError
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import SqlValue, as_float, as_text
from telemetry.store.sessions.session import Session
from telemetry.store.summaries.layer_table import (
    LayerRow,
    Window,
    exact_step,
    layer_rows,
    sampled_steps,
)

NAMED = 8  # layers of a message
OCTAVES_SQL = """
SELECT
    h.parameter,
    h.exponent,
    SUM(h.count) AS count
FROM histograms AS h
WHERE h.project = $project
    AND h.run = $run
    AND h.step = $step
    AND h.kind = 'weight'
GROUP BY h.parameter, h.exponent
ORDER BY h.parameter, h.exponent
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeights:
    """One parameter as the run recorded it.

    Attributes:
        layer: Path of its module.
        parameter: Its full name.
        shape: As text.
        n: Elements.
        norm: L2 norm; None: not recorded.
        octaves: Elements whose magnitude lies from 2^e up to 2^(e+1), by e.
    """

    layer: str
    parameter: str
    shape: str
    n: int
    norm: float | None
    octaves: Mapping[int, float]


def stored_weights(
    session: Session, run: Run, *, layer: str | None = None, step: int | None = None
) -> tuple[int, list[StoredWeights]]:
    """The step, and the parameters in order of execution.

    Args:
        session: A session that shows the run.
        run: The run.
        layer: A module or parameter; None: all.
        step: A sampled step; None: the last one.

    Raises:
        Inconclusive: nothing was sampled.
        UsageError: the step was not, or there is no such layer.
    """
    steps = sampled_steps(session, run)
    at = int(steps[-1]) if step is None else exact_step(steps, step)
    here = Window(first=at, last=at)
    octaves: defaultdict[str, dict[int, float]] = defaultdict(dict)
    key: dict[str, SqlValue] = {"project": run.ref.project, "run": run.run, "step": at}
    for record in session.query(OCTAVES_SQL, key).records():
        count = as_float(record["count"])
        octaves[as_text(record["parameter"])][int(as_float(record["exponent"]))] = count
    rows = layer_rows(session, run, shown=here, trend=here)
    found = [_stored(row, octaves) for row in rows if row.parameter is not None]
    shown = [entry for entry in found if layer is None or layer in {entry.layer, entry.parameter}]
    if not shown:
        names = ", ".join(sorted({entry.layer for entry in found})[:NAMED])
        raise UsageError(f"the run has recorded no layer {layer!r}; recorded layers are {names}.")
    return at, shown


def _stored(row: LayerRow, octaves: Mapping[str, Mapping[int, float]]) -> StoredWeights:
    name = row.parameter or ""
    return StoredWeights(
        layer=row.layer,
        parameter=name,
        shape=row.shape,
        n=row.n,
        norm=row.weight_norm,
        octaves=octaves.get(name, {}),
    )
