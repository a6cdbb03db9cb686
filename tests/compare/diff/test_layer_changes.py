from pathlib import Path

import numpy as np
import pytest
from run_makers import builder, trained

from telemetry.compare.diff.layer_changes import (
    LayerComparison,
    compare_layers,
    layer_curves,
    ratio_noise,
    seeds_noise,
)
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store


def compared(store: Path, base: list[Run], candidate: list[Run]) -> LayerComparison:
    with Store.open(store).session([*base, *candidate]) as session:
        sides = [[layer_curves(session, run) for run in side] for side in (base, candidate)]
    return compare_layers(*sides)


def test_runs_that_differ_by_seed_have_no_layer_beyond_the_noise(tmp_path: Path) -> None:
    runs = [trained(tmp_path, i) for i in range(4)]
    assert compared(tmp_path, runs[:1], runs[1:2]).changes == ()
    assert compared(tmp_path, runs[:2], runs[2:]).changes == ()


def test_a_layer_with_other_gradients_is_found_and_ranked_first(tmp_path: Path) -> None:
    base = trained(tmp_path, 0)
    other = trained(tmp_path, 1, grad_factor={"body": 0.05, "head": 4.0})
    found = compared(tmp_path, [base], [other]).changes
    assert [(c.layer, c.statistic) for c in found] == [("body", "grad_norm"), ("head", "grad_norm")]
    assert found[0].log2_ratio == pytest.approx(np.log2(0.05), abs=0.5)
    assert found[0].first_step == 0
    assert all(abs(change.log2_ratio) > change.noise for change in found)


def test_groups_are_judged_by_the_scatter_of_their_runs(tmp_path: Path) -> None:
    base = [trained(tmp_path, i) for i in range(3)]
    other = [trained(tmp_path, 3 + i, grad_factor={"body": 4.0}) for i in range(3)]
    (change,) = compared(tmp_path, base, other).changes
    assert (change.layer, change.statistic) == ("body", "grad_norm")
    assert change.log2_ratio == pytest.approx(2.0, abs=0.4)


def test_swapping_the_runs_turns_the_ratio_round(tmp_path: Path) -> None:
    pair = trained(tmp_path, 0), trained(tmp_path, 1, grad_factor={"stem": 8.0})
    (there,) = compared(tmp_path, [pair[0]], [pair[1]]).changes
    (back,) = compared(tmp_path, [pair[1]], [pair[0]]).changes
    assert there.log2_ratio == pytest.approx(-back.log2_ratio)
    assert there.noise == pytest.approx(back.noise)


def test_a_gradient_that_vanished_altogether_is_a_finite_change(tmp_path: Path) -> None:
    pair = trained(tmp_path, 0), trained(tmp_path, 1, grad_factor={"stem": 0.0})
    (change,) = compared(tmp_path, [pair[0]], [pair[1]]).changes
    assert change.layer == "stem"
    assert -150 < change.log2_ratio < -140


def test_a_change_that_begins_later_says_when(tmp_path: Path) -> None:
    runs = []
    for index in (0, 1):
        built = builder(tmp_path, index).parameter("fc.weight", shape=(8, 8), depth=0)
        for step in range(0, 100, 5):
            built.add("steps", step=step, loss=1.0, flags=17)
            norm = 64.0 if index and step >= 40 else 1.0
            built.norm("fc.weight", "gradient", step, norm, n=64)
        runs.append(load_run(built.write()))
    (change,) = compared(tmp_path, [runs[0]], [runs[1]]).changes
    assert (change.first_step, change.log2_ratio) == (40, 6.0)


def test_units_that_died_are_found_in_training_forwards_only(tmp_path: Path) -> None:
    runs = []
    for index, dead in ((0, 1), (1, 60)):
        built = builder(tmp_path, index).module("act", type_="ReLU", role="activation")
        for step in range(0, 60, 5):
            built.add("steps", step=step, loss=1.0, flags=17)
            built.activation("act", "output", step, n_units=64, n_dead=dead)
            built.activation("act", "output", step, n_units=64, n_dead=64, phase="eval")
        runs.append(load_run(built.write()))
    (change,) = compared(tmp_path, [runs[0]], [runs[1]]).changes
    assert (change.layer, change.statistic) == ("act", "dead_share")
    assert change.log2_ratio == pytest.approx(np.log2((60 / 64 + 0.1) / (1 / 64 + 0.1)))


def test_layers_of_one_side_only_are_named_and_nothing_is_compared(tmp_path: Path) -> None:
    runs = []
    for index, name in ((0, "old"), (1, "new")):
        built = builder(tmp_path, index).parameter(f"{name}.weight", shape=(8, 8), depth=0)
        built.add("steps", step=0, loss=1.0, flags=17)
        runs.append(load_run(built.norm(f"{name}.weight", "gradient", 0, 1.0, n=64).write()))
    found = compared(tmp_path, [runs[0]], [runs[1]])
    assert found == LayerComparison(changes=(), only_base=("old",), only_candidate=("new",))


def test_samples_at_different_steps_are_not_compared(tmp_path: Path) -> None:
    runs = []
    for index, first in ((0, 0), (1, 1)):
        built = builder(tmp_path, index).parameter("fc.weight", shape=(8, 8), depth=0)
        for step in range(first, 20, 2):
            built.add("steps", step=step, loss=1.0, flags=17)
            built.norm("fc.weight", "gradient", step, 1.0 + 50 * index, n=64)
        runs.append(load_run(built.write()))
    assert compared(tmp_path, [runs[0]], [runs[1]]).changes == ()


def test_noise_bands_have_a_floor_and_a_cap() -> None:
    assert ratio_noise(np.zeros(5)) == 0.2
    wild = np.array([-4.0, 4.0] * 20)
    assert ratio_noise(wild) == 1.0
    assert ratio_noise(wild[:4]) > 1.0
    assert seeds_noise(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.0
    assert seeds_noise(np.array([0.0, 1.0]), np.array([1.0])) > 10


def activity(store: Path, index: int, factor: float, *, n_units: int = 512) -> Run:
    """A run whose module `net.1` puts out numbers that many times as large, inside of `net`."""
    built = builder(store, index).module("net", type_="Sequential").module("net.1", depth=1)
    for step in range(0, 60, 5):
        built.add("steps", step=step, loss=1.0, flags=17)
        for path in ("net", "net.1"):
            sumsq = 6400.0 * factor**2
            built.activation(path, "output", step, n_units=n_units, sumsq=sumsq)
            built.activation(path, "input", step, n_units=n_units, sumsq=6400.0)
    return load_run(built.write())


def test_activations_of_another_size_are_found_in_the_module_itself(tmp_path: Path) -> None:
    (change,) = compared(
        tmp_path, [activity(tmp_path, 0, 1.0)], [activity(tmp_path, 1, 4.0)]
    ).changes
    assert (change.layer, change.statistic) == ("net.1", "activation_rms")
    assert change.log2_ratio == pytest.approx(2.0)


def test_activations_of_few_units_differ_by_initialisation(tmp_path: Path) -> None:
    pair = (activity(tmp_path, index, factor, n_units=2) for index, factor in ((0, 1.0), (1, 4.0)))
    assert compared(tmp_path, [next(pair)], [next(pair)]).changes == ()


def test_the_change_furthest_beyond_its_noise_comes_first(tmp_path: Path) -> None:
    runs = []
    for index, (quiet, wild) in enumerate([(1.0, 1.0), (2.0, 4.0)]):
        built = builder(tmp_path, index)
        for name in ("quiet", "wild"):
            built.parameter(f"{name}.weight", shape=(64, 64), depth=0)
        for step in range(0, 100, 5):
            built.add("steps", step=step, loss=1.0, flags=17)
            swing = 2.0 ** (0.6 * (-1) ** (step // 5) * index)
            built.norm("quiet.weight", "gradient", step, quiet, n=4096)
            built.norm("wild.weight", "gradient", step, wild * swing, n=4096)
        runs.append(load_run(built.write()))
    found = compared(tmp_path, [runs[0]], [runs[1]]).changes
    assert [change.layer for change in found] == ["quiet", "wild"]
    assert abs(found[0].log2_ratio) < abs(found[1].log2_ratio)
