from pathlib import Path

import pytest
from run_makers import trained

from telemetry.compare.diff.diff import diff_runs
from telemetry.compare.diff.result import Diff
from telemetry.compare.terms import DivergenceKind
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

pytestmark = pytest.mark.usefixtures("undiagnosed")


def compared(store: Path, base: list[Run], candidate: list[Run]) -> Diff:
    return diff_runs(Store.open(store), base, candidate)


def seeded(store: Path, index: int, seed: int, *, shift: float = 0.0) -> Run:
    def shifted(step: int, value: float) -> float:
        return value + shift * (step >= 50)

    return trained(store, index, seed=seed, config={"seed": seed}, tweak=shifted)


def test_of_groups_two_runs_of_the_same_seed_are_held_against_each_other(tmp_path: Path) -> None:
    base = [seeded(tmp_path, index, seed) for index, seed in enumerate((3, 1, 2))]
    other = [seeded(tmp_path, 10 + seed, seed, shift=0.1) for seed in (2, 5)]
    found = compared(tmp_path, base, other).first_divergence
    assert (found.base, found.candidate) == (base[2].run, other[0].run)
    assert (found.kind, found.step, found.equal_until) == (DivergenceKind.CODE, 50, 49)


def test_groups_without_a_common_seed_are_compared_by_their_first_runs(tmp_path: Path) -> None:
    base = [seeded(tmp_path, index, index) for index in (1, 2)]
    other = [seeded(tmp_path, index, index) for index in (4, 5)]
    found = compared(tmp_path, base, other).first_divergence
    assert (found.base, found.candidate) == (base[0].run, other[0].run)
    assert found.kind is DivergenceKind.INITIAL_WEIGHTS
