from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.compare.settings.config_changes import (
    ConfigChange,
    canonical,
    config_changes,
    flat,
    is_repeat_key,
    same_value,
    settings,
)
from telemetry.format.manifest import Manifest, Status
from telemetry.format.runs import RunRef
from telemetry.json_values import Json
from telemetry.store.runs.run import Run

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def run(config: Mapping[str, Json], **environment: Json) -> Run:
    manifest = Manifest(
        run="a",
        project="p",
        name="a",
        started="",
        heartbeat="",
        config=config,
        environment=environment,
    )
    ref = RunRef(project="p", run="a", path=Path("a"))
    return Run(ref=ref, manifest=manifest, status=Status.FINISHED)


def changes(base: list[Run], candidate: list[Run]) -> tuple[ConfigChange, ...]:
    return config_changes(list(map(settings, base)), list(map(settings, candidate)))


def keys(base: Run, candidate: Run) -> list[str]:
    return [change.key for change in changes([base], [candidate])]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (1, "1", False),
        (None, "", False),
        (None, 0, False),
        (float("nan"), float("nan"), True),
        ([1, 2], [1.0, 2.0], True),
        ([1, 2], [1, 2, 3], False),
        ([1], 1, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, [1], False),
        (2**60, 2**60 + 1, False),
    ],
)
def test_values_are_equal_by_type_and_value(left: Json, right: Json, *, same: bool) -> None:
    assert same_value(left, right) is same
    assert same_value(right, left) is same


@given(value=values)
def test_every_value_equals_itself(value: Json) -> None:
    assert same_value(value, value)


@given(left=values, right=values)
def test_equal_values_have_one_text(left: Json, right: Json) -> None:
    if same_value(left, right):
        assert canonical(left) == canonical(right)


def test_only_settings_that_differ_are_listed() -> None:
    base = run({"lr": 0.1, "width": 64, "depth": 3})
    candidate = run({"lr": 0.2, "width": 64.0, "dropout": 0.5, "depth": None})
    found = {c.key: (c.base, c.candidate) for c in changes([base], [candidate])}
    assert found == {"lr": (0.1, 0.2), "dropout": (None, 0.5), "depth": (3, None)}


def test_nested_settings_have_dotted_keys() -> None:
    assert keys(run({"opt": {"lr": 1, "eps": 2}}), run({"opt": {"lr": 3, "eps": 2}})) == ["opt.lr"]
    assert flat({"a": {"b": {"c": [1]}}}) == {"a.b.c": [1]}


def test_versions_and_commits_are_listed_after_the_configuration() -> None:
    base = run({"z": 1}, python="3.11.1", torch="2.12", git={"commit": "aaa"}, hostname="one")
    candidate = run({"z": 2}, python="3.11.1", torch="2.13", git={"commit": "bbb"}, hostname="two")
    assert keys(base, candidate) == ["z", "environment.git.commit", "environment.torch"]


def test_hosts_users_and_paths_are_noise() -> None:
    base = run({}, host="a", user="x", python_path="/a", pid=1, cwd="/x")
    assert keys(base, run({}, host="b", user="y", python_path="/b", pid=2, cwd="/y")) == []


def test_what_only_one_run_has_found_out_is_no_difference() -> None:
    older = run({"lr": 1}, torch="2.12")
    newer = run({"lr": 1}, torch="2.12", packages={"numpy": "2.0"}, devices=["A"], cpu="x")
    assert keys(older, newer) == []
    other = run({"lr": 1}, packages={"scipy": "1.0"}, devices=["B"], cpu="x", cpu_count=4)
    assert keys(newer, other) == [
        "environment.devices",
        "environment.packages.numpy",
        "environment.packages.scipy",
    ]


def test_a_setting_that_varies_inside_a_group_is_compared_as_a_list() -> None:
    base = [run({"seed": s, "lr": 0.1}) for s in (2, 0, 1)]
    same = [run({"seed": s, "lr": 0.1}) for s in (0, 1, 2)]
    other = [run({"seed": s, "lr": 0.1}) for s in (3, 4, 5)]
    assert changes(base, same) == ()
    (change,) = changes(base, other)
    assert (change.base, change.candidate) == ([0, 1, 2], [3, 4, 5])


def test_seeds_and_folds_number_repetitions() -> None:
    assert all(map(is_repeat_key, ("seed", "data.seed", "random_state", "fold", "SEED")))
    assert not any(map(is_repeat_key, ("lr", "seeding_rate_x", "unfolded", "state")))
