import numpy as np
import numpy.typing as npt
import pytest

from telemetry.compare.sweep.importance import mean_ranks
from telemetry.compare.sweep.interactions import interactions
from telemetry.compare.sweep.parameters import varied_parameters
from telemetry.json_values import Json

Config = dict[str, Json]


def configs(n: int, seed: int) -> list[Config]:
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


def pairs(
    rows: list[Config], values: npt.NDArray[np.float64], acting: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    parameters = varied_parameters(rows)
    taken = [one for one in parameters if one.name in acting]
    found = interactions(parameters, mean_ranks(values), taken)
    return [(parameters[one.first].name, parameters[one.second].name) for one in found]


def noise(n: int, seed: int = 99) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 0.1, n)


def test_two_parameters_that_only_matter_together_are_found() -> None:
    rows = configs(40, 1)
    values = np.array([(c["act"] == "relu") != (c["optimizer"] == "sgd") for c in rows])
    assert pairs(rows, values + noise(40)) == [("act", "optimizer")]


def test_a_joint_effect_beside_main_effects_is_found() -> None:
    rows = configs(60, 1)
    signs = [1.0 if c["optimizer"] == "sgd" else -1.0 for c in rows]
    values = np.array([2 * s * (c["act"] == "relu") + s for c, s in zip(rows, signs, strict=True)])
    assert pairs(rows, values + noise(60), ("act", "optimizer")) == [("act", "optimizer")]


def test_what_a_switch_does_is_not_put_down_to_the_parameter_behind_it() -> None:
    rows = configs(60, 4)
    generator = np.random.default_rng(5)
    for row in rows:
        if row["optimizer"] == "sgd":
            row["momentum"] = float(generator.uniform())
    values = np.array([(c["act"] == "relu") != (c["optimizer"] == "sgd") for c in rows])
    assert pairs(rows, values + noise(60)) == [("act", "optimizer")]


def test_effects_that_add_up_are_no_interaction() -> None:
    alarms = 0
    for seed in range(20):
        rows = configs(40, 10 + seed)
        values = np.array([float(c["optimizer"] == "sgd") for c in rows])
        values += np.random.default_rng(seed).normal(0, 1, 40)
        alarms += bool(pairs(rows, values, ("optimizer",)))
    assert alarms <= 4  # 5 % of 20 expected; 5 or more have probability 0.3 %


def test_few_runs_equal_runs_and_one_parameter_have_no_interactions() -> None:
    rows = configs(15, 2)
    assert pairs(rows, noise(15)) == []
    rows = configs(30, 3)
    assert pairs(rows, np.ones(30)) == []
    assert pairs([{"lr": row["lr"]} for row in rows], noise(30)) == []


def test_the_share_is_of_all_the_variance() -> None:
    rows: list[Config] = [{"a": i % 2, "b": i // 2 % 2} for i in range(40)]
    values = np.array([float(str(row["a"])) != float(str(row["b"])) for row in rows]) + 0.0
    parameters = varied_parameters(rows)
    (found,) = interactions(parameters, mean_ranks(values), [])
    assert found.share == pytest.approx(1.0)
