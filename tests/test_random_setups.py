"""The short random set-ups of benchmarks/faults: their faults are answered, their loops record."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from loops import records

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks" / "faults"))  # scripts, which are no part of the package

DRAWN = import_module("random_setups.short_setups").drawn_short
LOOPS = tuple(import_module("random_setups.setups").Loop)
TRAINED = import_module("random_setups.training").trained
MORE = import_module("random_setups.more_injections").MORE_INJECTIONS
ALL = {**MORE, **import_module("random_setups.injections").INJECTIONS}
EVIDENCE = import_module("random_setups.evidence").EVIDENCE

pytestmark = [pytest.mark.torch, pytest.mark.no_cover]
STEPS = 3


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_accepted_roots_are_detectors_and_each_fault_has_its_evidence() -> None:
    known = {entry.id for entry in import_module("telemetry.diagnose.detector").all_detectors()}
    assert {root for entry in ALL.values() for root in entry.roots} <= known
    assert set(EVIDENCE) == set(ALL)


def test_a_seed_draws_the_same_set_up_again() -> None:
    assert DRAWN(7).words == DRAWN(7).words
    assert DRAWN(7).words != DRAWN(8).words


@pytest.mark.parametrize("loop", LOOPS)
def test_each_manner_of_loop_records_its_steps(loop: object, tmp_path: Path) -> None:
    setup = replace(DRAWN(0), loop=loop, steps=STEPS)
    _, running = TRAINED(setup, tmp_path, 0)
    assert running.step == STEPS - 1
    assert running.val_losses
    with_steps = [row for run in tmp_path.rglob("run.json") for row in records(run.parent, "steps")]
    assert len(with_steps) == STEPS
