"""Dead units over samples, shard files and ranks: the views say what one bitmap of all would."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import run_settings, shard_ranges
from torch import nn

from telemetry.capture.activations.observer import ModuleObserver
from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.writer.writer import RunWriter
from telemetry.format.manifest import Status
from telemetry.store.store import Store

WINDOW = 8  # samples; 64 rows of each make its 512 positions
WAIT_S = 60.0
Fired = npt.NDArray[np.bool_]  # (n_steps, n_rows, n_units)


def record(writer: RunWriter, fired: Fired, n_calls: int, flush_after: set[int]) -> None:
    """One rank: a ReLU whose units are active where `fired` says so."""
    n_units = fired.shape[-1]
    model = nn.Sequential(nn.Linear(n_units, n_units, bias=False), nn.ReLU())
    nn.init.eye_(model[0].weight)
    observer = ModuleObserver(model)
    writer.put(Catalogue(model, []).packet())
    for step, units in enumerate(fired):
        observer.begin(step)
        for rows in np.array_split(units, n_calls):
            model(torch.from_numpy(np.where(rows, 1.0, -1.0).astype(np.float32)))
        packet = observer.end()
        assert packet is not None
        writer.put(packet)
        writer.mark_step(step)
        if step in flush_after:
            assert writer.flush(timeout_s=WAIT_S)


def dead_of_all(ranks: list[Fired], step: int) -> int:
    """Units that no rank fired since the window of the step began."""
    begin = step - step % WINDOW
    live = [fired[begin : step + 1].any(axis=(0, 1)) for fired in ranks]
    return int((~np.any(live, axis=0)).sum())


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_units=st.integers(1, 80),
    n_steps=st.integers(1, 10),
    n_rows=st.tuples(st.integers(64, 70), st.integers(64, 70)),
    n_calls=st.integers(1, 2),
    flush_after=st.sets(st.integers(0, 9), max_size=4),
    dead_share=st.sampled_from([0.2, 0.7, 1.0]),
)
def test_merged_dead_units_are_those_of_the_union(  # noqa: PLR0913 - one per choice
    tmp_path_factory: pytest.TempPathFactory,
    *,
    seed: int,
    n_units: int,
    n_steps: int,
    n_rows: tuple[int, int],
    n_calls: int,
    flush_after: set[int],
    dead_share: float,
) -> None:
    store = tmp_path_factory.mktemp("store")
    random = np.random.default_rng(seed)
    ranks = [
        random.random((n_steps, rows, n_units)) < 0.05 * (random.random(n_units) > dead_share)
        for rows in n_rows
    ]
    writers = [RunWriter.open(run_settings(store, run_id="r", rank=rank)) for rank in (0, 1)]
    for writer, fired in zip(writers, ranks, strict=True):
        record(writer, fired, n_calls, flush_after)
    for rank, writer in enumerate(writers):
        writer.close(Status.FINISHED)
        n_flushed = len([step for step in flush_after if step < n_steps - 1])
        # On a busy machine the schedule may ask for more.
        assert len(shard_ranges(writer.ref.path, "module_stats", rank)) >= n_flushed + 1

    opened = Store.open(store)
    with opened.session(opened.runs()) as session:
        shown = session.query(
            "SELECT step, dead_share * n_units AS n_dead FROM activations "
            "WHERE layer = '1' AND site = 'output' ORDER BY step"
        )
        windows = session.query(
            "SELECT step, n_dead FROM dead_points WHERE window_samples >= 512 ORDER BY step"
        )

    expected = [dead_of_all(ranks, step) for step in range(n_steps)]
    assert shown.ints("step").tolist() == list(range(n_steps))
    assert shown.floats("n_dead").tolist() == pytest.approx(expected)
    complete = [WINDOW - 1] if n_steps >= WINDOW else []
    assert windows.ints("step").tolist() == complete
    assert windows.ints("n_dead").tolist() == [expected[step] for step in complete]
