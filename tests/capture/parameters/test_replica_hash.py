"""Ranks hash their weights at fixed steps, whatever each of them samples."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from telemetry import TelemetryCallback
from telemetry.capture.parameters.replica_hash import bit_sum, is_fixed
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Diagnosis, Severity
from telemetry.store.sessions.rows import Rows
from telemetry.store.store import Store

SCRIPT = Path(__file__).parents[2] / "support" / "parted.py"
FIXED = [0, 1, 2, 4, 8, 16, 32, 64]
ID = "rank_desync"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Store]:
    folder = tmp_path_factory.mktemp("parted")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)],
        env={**os.environ, "TELEMETRY_COMPACT": "off"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return lambda name: Store.open(folder / name)


def hashes(store: Store) -> Rows:
    with store.session(store.runs()) as session:
        return session.query(
            "SELECT step, rank, replica_hash FROM steps WHERE replica_hash IS NOT NULL "
            "ORDER BY step, rank"
        )


def judged(store: Store) -> Diagnosis:
    return diagnose_run(store, store.runs()[0])


def test_both_ranks_hash_the_same_steps(recorded: Callable[[str], Store]) -> None:
    rows = hashes(recorded("healthy"))
    assert rows.ints("step").tolist() == [step for step in FIXED for _ in range(2)]
    values = rows.ints("replica_hash").reshape(-1, 2)
    assert (values[:, 0] == values[:, 1]).all()
    assert len(set(values[:, 0].tolist())) == len(FIXED)


def test_equal_replicas_pass(recorded: Callable[[str], Store]) -> None:
    assert ID in judged(recorded("healthy")).passed


def test_replicas_that_part_between_samples_are_found(recorded: Callable[[str], Store]) -> None:
    (found,) = (f for f in judged(recorded("parted")).findings if f.detector == ID)
    assert (found.severity, found.first_step) == (Severity.ERROR, 64)


def test_parts_of_sharded_parameters_are_not_hashed(recorded: Callable[[str], Store]) -> None:
    store = recorded("sharded")
    assert len(hashes(store)) == 0
    (told,) = (n for n in judged(store).not_checked if n.detector == ID)
    assert "sharded" in told.reason


def test_what_is_whole_beside_sharded_parameters_is_compared(
    recorded: Callable[[str], Store],
) -> None:
    (found,) = (f for f in judged(recorded("half")).findings if f.detector == ID)
    assert found.first_step == 1


def test_one_process_hashes_nothing(recorded: Callable[[str], Store]) -> None:
    assert len(hashes(recorded("alone"))) == 0


def test_fixed_steps_are_the_powers_of_two_and_each_hundredth() -> None:
    assert [step for step in range(301) if is_fixed(step)] == [*FIXED, 100, 128, 200, 256, 300]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_every_changed_weight_changes_the_sum(dtype: torch.dtype) -> None:
    values = (
        torch.view_as_real(torch.ones(3, 4, dtype=dtype))
        if dtype.is_complex
        else torch.ones(3, 4, dtype=dtype)
    )
    before = bit_sum(values.mT)
    assert torch.equal(before, bit_sum(values))
    values[1, 2] += 0.5
    assert not torch.equal(before, bit_sum(values))


def test_large_tensors_are_read_in_blocks_over_their_whole_length() -> None:
    values = torch.zeros(3, 1 << 20)
    before = bit_sum(values)
    values[:, -1] = 1
    values[:, 0] = 1
    values[1] = 1
    assert not torch.equal(before, bit_sum(values))


def test_a_loop_without_an_optimizer_hashes_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TELEMETRY_RUN_ID", "job-1")
    model = nn.Linear(3, 1)
    with TelemetryCallback(model, None, store=tmp_path, strict=True) as telemetry:
        for _ in range(5):
            loss = model(torch.ones(2, 3)).mean()
            loss.backward()
            telemetry.step(loss=loss)
    assert hashes(Store.open(tmp_path)).ints("step").tolist() == [0, 1, 2, 4]
