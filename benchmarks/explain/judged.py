"""Judged examples in memory, as `telemetry evaluate` would store them, for the benchmarks here."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telemetry.evaluate.stored.evaluations import Examples, StoredEvaluation
from telemetry.format.manifest import Status
from telemetry.format.runs import RunRef
from telemetry.store.runs.run import Run

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
RUN = Run(
    ref=RunRef(project="benchmark", run="memory", path=Path("memory")),
    manifest=None,
    status=Status.FINISHED,
)


def examples(
    correct: npt.NDArray[np.bool_],
    columns: Mapping[str, Sequence[str]] | None = None,
    ids: Sequence[str] | None = None,
) -> Examples:
    """Examples of which one knows whether they were answered right, and metadata.

    Args:
        correct: Shape (n,).
        columns: Metadata by name, each of n texts.
        ids: Of the examples; their places by default.
    """
    n = len(correct)
    names = list(ids) if ids is not None else [f"{i:06d}" for i in range(n)]
    nothing = pa.nulls(n, pa.float64())
    own = {
        "example_id": pa.array(names),
        "input_digest": pa.array(names),
        "source_id": pa.nulls(n, pa.string()),
        "label": pa.nulls(n, pa.string()),
        "correct": pa.array(correct),
        "loss": nothing,
        "target_value": nothing,
    }
    metadata = {f"m_{name}": pa.array(values) for name, values in (columns or {}).items()}
    return Examples(
        evaluation=StoredEvaluation(
            run=RUN,
            eval_id="memory",
            dataset="memory",
            hypothesis="",
            checkpoint="memory",
            step=None,
            n=n,
            accuracy=float(correct.mean()),
            loss=math.nan,
            written_at=MOMENT,
        ),
        table=pa.table({**own, **metadata}),
    )


def share(n_hits: int, n: int) -> str:
    """A rate with its Wilson 95 % interval."""
    z = NormalDist().inv_cdf(0.975)
    rate = n_hits / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = 100 * (centre - half), 100 * (centre + half)
    return f"{100 * rate:.1f} % ({n_hits}/{n}; {low:.1f}-{high:.1f})"
