import sys
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import pytest

from telemetry.compare.sweep import forest
from telemetry.compare.sweep.forest import Forest
from telemetry.compare.sweep.importance import Importance, importances, mean_ranks
from telemetry.compare.sweep.parameters import varied_parameters
from telemetry.json_values import Json

# Found, not loaded: loading takes seconds in every process that only collects.
pytestmark = pytest.mark.skipif(
    find_spec("sklearn") is None, reason="scikit-learn is not installed"
)

Floats = npt.NDArray[np.float64]
Config = dict[str, Json]


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second a forest instead of seconds; the rates are measured in benchmarks/."""
    monkeypatch.setattr(forest, "PERMUTATIONS", 39)
    monkeypatch.setattr(Forest, "permutations", 39)
    monkeypatch.setattr(forest, "TREES_PER_PERMUTATION", 4)
    monkeypatch.setattr(forest, "BAGS", 12)
    monkeypatch.setattr(forest, "TREES_PER_BAG", 4)


def configs(n: int, seed: int = 0) -> list[Config]:
    generator = np.random.default_rng(seed)
    return [
        {
            "lr": float(10 ** generator.uniform(-4, 0)),
            "act": str(generator.choice(["relu", "tanh", "gelu"])),
            "optimizer": str(generator.choice(["sgd", "adam"])),
            "noise": float(generator.uniform()),
        }
        for _ in range(n)
    ]


def judged(rows: list[Config], values: Floats) -> dict[str, Importance]:
    parameters = varied_parameters(rows)
    found = importances(parameters, mean_ranks(values), Forest(parameters))
    return {entry.name: entry for entry in found}


def noise(n: int) -> Floats:
    return np.random.default_rng(99).normal(0, 0.1, n)


def test_an_optimum_in_the_middle_decides() -> None:
    rows = configs(30)
    found = judged(rows, np.array([(np.log10(float(str(c["lr"]))) + 2) ** 2 for c in rows]))
    assert [name for name, entry in found.items() if entry.important] == ["lr"]
    assert found["lr"].share > 0.5
    assert all(0 <= e.low <= e.share <= e.high <= 1 for e in found.values())


def test_a_category_decides_whatever_its_place_in_the_alphabet() -> None:
    rows = configs(30, 1)
    for name in ("gelu", "relu", "tanh"):
        values = np.array([float(c["act"] == name) for c in rows]) + noise(30)
        assert max(judged(rows, values).values(), key=lambda e: e.share).name == "act"


def test_noise_makes_nothing_important() -> None:
    rows = configs(24, 2)
    values = np.random.default_rng(3).normal(size=24)
    assert not any(entry.important for entry in judged(rows, values).values())


def test_a_parameter_that_another_one_switches_on_is_not_credited_with_the_switch() -> None:
    rows = configs(40, 4)
    generator = np.random.default_rng(5)
    for row in rows:
        if row["optimizer"] == "sgd":
            row["momentum"] = float(generator.uniform(0, 0.99))
    values = np.array([float(c["optimizer"] == "sgd") for c in rows]) + noise(40)
    found = judged(rows, values)
    assert found["optimizer"].important
    assert not found["momentum"].important
    assert found["momentum"].share < 0.05


def test_the_same_runs_give_the_same_forest() -> None:
    rows = configs(20, 8)
    values = noise(20)
    assert judged(rows, values) == judged(rows, values)


def test_asking_for_scikit_learn_does_not_import_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert forest.is_available()
    monkeypatch.setattr(forest, "find_spec", lambda _: None)
    assert not forest.is_available()
    assert "telemetry.compare.sweep.forest" in sys.modules
