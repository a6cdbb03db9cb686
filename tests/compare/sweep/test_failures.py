import numpy as np

from telemetry.compare.sweep.failures import attribute_failures, conditions
from telemetry.compare.sweep.parameters import varied_parameters
from telemetry.compare.sweep.result import Failure
from telemetry.json_values import Json

Config = dict[str, Json]


def grid(repeats: int = 1) -> list[Config]:
    return [
        {"lr": lr, "width": width, "act": act}
        for lr in (1e-3, 1e-2, 1e-1, 1.0)
        for width in (32, 64, 128)
        for act in ("relu", "tanh")
        for _ in range(repeats)
    ]


def attributed(configs: list[Config], failed: list[bool]) -> Failure:
    (entry,) = attribute_failures(varied_parameters(configs), {"broken": np.array(failed)})
    return entry


def test_one_threshold_is_found_with_its_support() -> None:
    entry = attributed(grid(), [float(str(c["lr"])) >= 0.1 for c in grid()])
    assert entry.rule == "lr >= 0.1"
    assert (entry.matching_runs, entry.rule_runs, entry.failed_runs) == (12, 12, 12)
    assert entry.errors == 0


def test_a_threshold_from_above_and_a_category_are_found() -> None:
    assert attributed(grid(), [c["width"] == 32 for c in grid()]).rule == "width <= 32"
    assert attributed(grid(), [c["act"] == "relu" for c in grid()]).rule == "act = relu"


def test_not_setting_a_parameter_can_be_what_fails() -> None:
    configs: list[Config] = [{"warmup": 100 * (i % 3 + 1)} if i % 2 else {} for i in range(24)]
    entry = attributed(configs, [i % 2 == 0 for i in range(24)])
    assert (entry.rule, entry.errors) == ("warmup = not set", 0)


def test_two_conditions_are_joined_where_one_does_not_do() -> None:
    configs = grid(2)
    entry = attributed(
        configs, [float(str(c["lr"])) >= 0.1 and c["act"] == "relu" for c in configs]
    )
    assert entry.rule in {"act = relu and lr >= 0.1", "lr >= 0.1 and act = relu"}
    assert (entry.matching_runs, entry.rule_runs, entry.errors) == (12, 12, 0)


def test_a_second_condition_for_one_run_is_not_worth_reading() -> None:
    failed = [float(str(c["lr"])) >= 1.0 for c in grid()]
    failed[-1] = False
    entry = attributed(grid(), failed)
    assert entry.rule == "lr >= 1"
    assert (entry.matching_runs, entry.rule_runs, entry.errors) == (5, 6, 1)


def test_failures_at_random_seldom_get_a_rule_and_hardly_ever_a_certain_one() -> None:
    entries: list[Failure] = []
    for seed in range(40):
        failed = np.random.default_rng(seed).permutation([True] * 5 + [False] * 19)
        entries.append(attributed(grid(), failed.tolist()))
    assert sum(entry.rule != "" for entry in entries) <= 13  # 20 % of 40 expected
    assert sum(entry.chance <= 0.05 for entry in entries) <= 6  # 5 % of 40 expected


def test_without_a_rule_every_run_counts_as_inside() -> None:
    failed = [i in {0, 9, 15} for i in range(24)]
    entry = attributed(grid(), failed)
    assert (entry.rule, entry.rule_runs, entry.failed_runs) == ("", 24, 3)
    assert entry.chance > 0.2


def test_one_failed_run_is_an_anecdote() -> None:
    assert attributed(grid(), [i == 3 for i in range(24)]).rule == ""


def test_runs_that_all_failed_have_nothing_that_separates_them() -> None:
    entry = attributed(grid(), [True] * 24)
    assert (entry.rule, entry.matching_runs, entry.rule_runs) == ("", 24, 24)


def test_detectors_come_with_the_commonest_first() -> None:
    few, many = np.arange(24) < 3, np.arange(24) >= 6
    entries = attribute_failures(varied_parameters(grid()), {"few": few, "many": many})
    assert [entry.detector for entry in entries] == ["many", "few"]
    assert attribute_failures([], {"many": many})[0].rule == ""


def test_thresholds_of_a_continuous_parameter_lie_at_observed_values() -> None:
    (parameter,) = varied_parameters([{"x": float(x)} for x in range(40)])
    rules = list(conditions(parameter))
    assert len(rules) == 20
    assert all(0 < rule.inside.sum() < 40 for rule in rules)
