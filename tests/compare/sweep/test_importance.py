import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.compare.sweep.effects import best_region, effect, inseparable, median_interval
from telemetry.compare.sweep.importance import Importance, importances, mean_ranks
from telemetry.compare.sweep.parameters import value_text, varied_parameters
from telemetry.compare.sweep.rank_shares import RankShares
from telemetry.json_values import Json

Config = dict[str, Json]


def random_configs(n: int, seed: int) -> list[Config]:
    generator = np.random.default_rng(seed)
    return [
        {
            "lr": float(10 ** generator.uniform(-4, 0)),
            "width": int(generator.choice([32, 64, 128])),
            "activation": str(generator.choice(["relu", "tanh", "gelu"])),
            "noise": float(generator.uniform()),
            "depth": 3,
        }
        for _ in range(n)
    ]


def judged(configs: list[Config], values: npt.NDArray[np.float64]) -> dict[str, Importance]:
    parameters = varied_parameters(configs)
    found = importances(parameters, mean_ranks(values), RankShares(parameters))
    return {entry.name: entry for entry in found}


def log_lr(configs: list[Config]) -> npt.NDArray[np.float64]:
    return np.log10([float(str(config["lr"])) for config in configs])


def test_an_optimum_in_the_middle_counts_as_much_as_a_trend() -> None:
    configs = random_configs(30, 0)
    noise = np.random.default_rng(1).normal(0, 0.2, 30)
    found = judged(configs, (log_lr(configs) + 2) ** 2 + noise)
    assert found["lr"].important
    assert found["lr"].share > 0.5
    assert [name for name, entry in found.items() if entry.important] == ["lr"]


def test_a_category_can_be_what_decides() -> None:
    configs = random_configs(30, 2)
    values = np.array([float(config["activation"] == "tanh") for config in configs])
    found = judged(configs, values + np.random.default_rng(3).normal(0, 0.1, 30))
    assert found["activation"].important
    assert found["activation"].share > 0.6


def test_a_weaker_parameter_is_found_behind_a_strong_one() -> None:
    grid = [{"lr": lr, "width": w} for lr in (1e-3, 1e-2, 1e-1, 1.0) for w in (32, 64, 128)]
    configs: list[Config] = [dict(config) for config in grid]
    values = (log_lr(configs) + 2) ** 2 + np.tile([0.3, 0.15, 0.0], 4)
    values += np.random.default_rng(4).normal(0, 0.03, 12)
    found = judged(configs, values)
    assert found["lr"].share > 0.6 > found["width"].share
    assert found["lr"].important
    assert found["width"].important


def test_what_has_no_effect_is_rarely_called_important() -> None:
    alarms = 0
    for seed in range(40):
        values = np.random.default_rng(1000 + seed).normal(size=20)
        found = judged(random_configs(20, seed), values)
        alarms += any(entry.important for entry in found.values())
    assert alarms <= 5  # 5 % of 40 expected; 6 or more have probability 1.4 %


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), n=st.integers(3, 30))
def test_the_interval_holds_the_importance_and_both_are_shares(seed: int, n: int) -> None:
    values = np.random.default_rng(seed).normal(size=n)
    for entry in judged(random_configs(n, seed), values).values():
        assert 0 <= entry.low <= entry.share <= entry.high <= 1


def test_runs_that_exploded_count_as_the_worst_and_not_by_their_size() -> None:
    configs = random_configs(24, 5)
    values = log_lr(configs)
    huge, nan = np.where(values > -1, 1e30, values), np.where(values > -1, np.nan, values)
    assert judged(configs, huge)["lr"].share == pytest.approx(judged(configs, nan)["lr"].share)
    assert judged(configs, nan)["lr"].important


def test_few_or_equal_runs_make_nothing_important() -> None:
    assert not any(e.important for e in judged(random_configs(4, 0), np.arange(4.0)).values())
    assert not any(e.important for e in judged(random_configs(9, 0), np.ones(9)).values())
    assert importances([], np.arange(3.0), RankShares([])) == []


def test_ties_share_their_mean_rank_and_nan_ranks_last() -> None:
    assert mean_ranks(np.array([2.0, 1.0, 2.0, np.nan])).tolist() == [2.5, 1.0, 2.5, 4.0]


def test_constants_seeds_and_labels_of_single_runs_are_no_parameters() -> None:
    configs: list[Config] = [
        {"lr": 0.1 * (i % 2), "seed": i, "out": f"out/{i}", "epochs": 3, "opt": {"name": "a"}}
        for i in range(8)
    ]
    assert [parameter.name for parameter in varied_parameters(configs)] == ["lr"]


def test_a_missing_setting_is_a_category_of_its_own() -> None:
    configs: list[Config] = [
        {"decay": 0.1},
        {},
        {"decay": 0.1},
        {},
        {"decay": None},
        {"decay": 0.2},
    ]
    (parameter,) = varied_parameters(configs)
    assert parameter.labels == ("0.1", "0.2", "not set")
    assert parameter.n_ranges == 2
    assert parameter.is_set.tolist() == [True, False, True, False, False, True]


def conditional(n: int = 24) -> list[Config]:
    generator = np.random.default_rng(11)
    rows: list[Config] = [{"optimizer": "sgd" if i % 2 else "adam", "x": i % 3} for i in range(n)]
    for row in rows:
        if row["optimizer"] == "sgd":
            row["momentum"] = float(generator.uniform())
    return rows


def test_a_parameter_that_another_one_switches_on_says_so() -> None:
    momentum, optimizer, x = varied_parameters(conditional())
    assert momentum.condition == "optimizer = sgd"
    assert (optimizer.condition, x.condition) == ("", "")
    assert inseparable([momentum, optimizer, x]) == []
    labels = [point.value for point in effect(momentum, np.arange(24.0))]
    assert "not set" not in labels


def test_a_setting_that_only_repeats_that_another_one_is_on_is_no_parameter() -> None:
    rows: list[Config] = [{"optimizer": "sgd", "nesterov": True}, {"optimizer": "adam"}]
    assert [one.name for one in varied_parameters(rows * 4)] == ["optimizer"]


def test_the_switch_gets_the_credit_and_the_parameter_behind_it_that_of_its_values() -> None:
    rows = conditional()
    noise = np.random.default_rng(12).normal(0, 0.1, 24)
    switched = np.array([float(row["optimizer"] == "sgd") for row in rows])
    found = judged(rows, switched + noise)
    assert found["optimizer"].important
    assert not found["momentum"].important
    inner = np.array([float(str(row.get("momentum", 0.5))) for row in rows])
    found = judged(rows, inner + 0.1 * noise)
    assert found["momentum"].important
    assert not found["optimizer"].important


def test_numbers_and_words_mix_in_one_parameter() -> None:
    values: list[Json] = [0.1, 0.1, 0.2, 0.2, "auto", "auto", None, None]
    (parameter,) = varied_parameters([{"x": value} for value in values])
    assert parameter.labels == ("0.1", "0.2", "auto", "not set")
    assert parameter.n_ranges == 2
    assert best_region(parameter, np.array([5.0, 6, 7, 8, 1, 2, 3, 4])).text == "auto"


def test_only_positive_numbers_over_decades_are_on_a_log_scale() -> None:
    scales = [
        varied_parameters([{"x": value} for value in values])[0].log_scale
        for values in ((0.001, 0.1), (1, 99), (0.0, 100.0), ("a", "b", "a", "b"))
    ]
    assert scales == [True, False, False, False]


@pytest.mark.parametrize(("n", "left_out"), [(5, 0), (6, 0), (9, 1), (20, 5)])
def test_the_interval_of_a_median_leaves_out_what_the_sign_test_allows(
    n: int, left_out: int
) -> None:
    assert median_interval(np.arange(float(n))) == (left_out, n - 1 - left_out)


def test_the_effect_is_the_typical_value_per_bin_without_diverged_runs() -> None:
    configs: list[Config] = [{"lr": lr} for lr in (0.1, 0.1, 0.1, 1.0, 1.0, 10.0)]
    (parameter,) = varied_parameters(configs)
    found = effect(parameter, np.array([1.0, 2.0, 9.0, 3.0, np.nan, np.nan]))
    assert [point.value for point in found] == ["0.1", "1", "10"]
    assert [point.median for point in found][:2] == [2.0, 3.0]
    assert [(point.low, point.high) for point in found][:2] == [(1.0, 9.0), (3.0, 3.0)]
    assert [(point.runs, point.diverged) for point in found] == [(3, 0), (2, 1), (1, 1)]
    assert np.isnan(found[2].median)


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ([1, 2, 5, 6, 7, 8, 9, 10], "<= 1"),
        ([9, 10, 7, 8, 5, 6, 1, 2], ">= 8"),
        ([9, 10, 1, 2, 5, 6, 7, 8], "2"),
        ([9, 10, 1.5, 1.5, 1.7, 1.9, 7, 8], "2 .. 4"),
        ([1, 1, 1, 1, 1, 1, 1, 1], "1 .. 8"),
    ],
)
def test_the_best_region_is_the_best_bin_and_its_equals_beside_it(
    ranks: list[float], expected: str
) -> None:
    (parameter,) = varied_parameters([{"x": x} for x in (1, 1, 2, 2, 4, 4, 8, 8)])
    assert best_region(parameter, np.array(ranks)).text == expected


def test_the_best_categories_are_named() -> None:
    (parameter,) = varied_parameters([{"x": x} for x in ("a", "a", "b", "b", "c", "c")])
    assert best_region(parameter, np.array([1.0, 2, 1.2, 2, 5, 6])).text == "a, b"


def test_parameters_that_vary_together_are_named() -> None:
    together: list[Config] = [
        {"lr": 0.1 * i, "batch": 2**i, "mode": "ab"[i > 3], "free": i % 2} for i in range(8)
    ]
    pairs = inseparable(varied_parameters(together))
    assert ("batch", "lr") in pairs
    assert ("free", "lr") not in pairs
    assert inseparable(varied_parameters(together[:5])) == []


def test_numbers_and_texts_of_parameters_read_as_people_write_them() -> None:
    assert [value_text(v) for v in (1.0, 1, "adam", None, True, [1, 2])] == [
        "1",
        "1",
        "adam",
        "not set",
        "true",
        "[1.0, 2.0]",
    ]
