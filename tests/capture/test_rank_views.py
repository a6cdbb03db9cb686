"""Whatever the number of processes, the views say what one process with the whole batch says."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from telemetry.store.sessions.rows import SqlValue
from telemetry.store.store import Store

SCRIPT = Path(__file__).parents[1] / "support" / "ranked.py"
TOLERANCE = 1e-5  # float32 sums of other parts, added in another order: differs by machine
WAYS = ("ddp-2", "ddp-4", "fsdp-2", "fsdp-4")
KEYS = {
    "layers": ("step", "parameter"),
    "activations": ("step", "layer", "site", "phase"),
    "histograms": ("step", "parameter", "kind", "sign", "exponent"),
    "quantiles": ("step", "parameter", "kind"),
    "tensor_points": ("step", "tensor_id", "provenance"),
    "dead_points": ("step", "module_id", "site", "phase"),
    "tensors": ("tensor_id",),
    "modules": ("module_id",),
}
# Rows of the view steps stay rows of ranks: what a rank sees of the batch differs, all else not.
STEPS_SQL = """
SELECT
    step,
    AVG(loss) AS loss,
    AVG(root_sum) AS root_sum,
    SUM(samples) AS samples,
    MIN(grad_norm_total) AS least_grad_norm,
    MAX(grad_norm_total) AS most_grad_norm,
    MIN(lr) AS lr,
    MAX(flags) AS flags,
    MAX(accumulation) AS accumulation,
    MAX(backward_calls) AS backward_calls
FROM steps
GROUP BY step
ORDER BY step
"""
# What cannot be equal, and why.
OF_THE_RUN = {"run"}  # its id
UNLIKE = {
    "tensor_points": {"n_ranks"},  # says how many ranks wrote
    "dead_points": {"window_samples"},  # each rank closes its window by what it has seen itself
    "tensors": {"sharding"},  # says whether ranks hold parts
}

Row = Mapping[str, SqlValue]
Views = Mapping[str, Mapping[tuple[SqlValue, ...], Row]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Views]:
    folder = tmp_path_factory.mktemp("ranked")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)],
        env={**os.environ, "TELEMETRY_COMPACT": "off"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: views_of(folder / name) for name in ("alone", *WAYS)}


def views_of(path: Path) -> Views:
    store = Store.open(path)
    with store.session(store.runs()) as session:
        found = {
            view: {
                tuple(row[name] for name in key): row
                for row in session.query(f"SELECT * FROM {view}").records()  # noqa: S608 - our own
            }
            for view, key in KEYS.items()
        }
        found["steps"] = {(row["step"],): row for row in session.query(STEPS_SQL).records()}
    return found


def is_same(one: SqlValue, other: SqlValue, *, scale: float) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE * scale)
    return one == other


def scales(rows: Mapping[tuple[SqlValue, ...], Row]) -> dict[str, float]:
    """Largest magnitude of each column: float32 sums round by it, not by what is left of them."""
    found: dict[str, float] = {}
    for row in rows.values():
        for name, value in row.items():
            if isinstance(value, float) and math.isfinite(value):
                found[name] = max(found.get(name, 1.0), abs(value))
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("view", [*KEYS, "steps"])
def test_a_view_of_several_processes_says_what_that_of_one_says(
    recorded: Mapping[str, Views], view: str, way: str
) -> None:
    alone, several = recorded["alone"][view], recorded[way][view]
    assert several.keys() == alone.keys()
    assert alone
    size = scales(alone)
    different = [
        (key, name, value, several[key][name])
        for key, row in alone.items()
        for name, value in row.items()
        if name not in OF_THE_RUN | UNLIKE.get(view, set())
        and not is_same(value, several[key][name], scale=size.get(name, 1.0))
    ]
    assert different == []
