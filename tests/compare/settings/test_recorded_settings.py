from pathlib import Path

import pytest
from run_makers import builder

from telemetry.compare.settings.changed import Sort, by_sort, named, same_code, sort_of
from telemetry.compare.settings.config_changes import ConfigChange
from telemetry.compare.settings.recorded_settings import recorded_settings
from telemetry.json_values import Json
from telemetry.store.runs.catalog import load_run
from telemetry.store.store import Store


def test_modules_optimizers_and_data_are_settings(tmp_path: Path) -> None:
    built = builder(tmp_path, 1).module("act", type_="ReLU").module("", type_="Net")
    built.add("steps", step=0, loss=1.0, flags=1)
    one = {"tensors": 6, "lr": 0.1, "betas": [0.9, 0.99]}
    two = {"tensors": 2, "lr": 0.2}
    built.event("optimizer", index=0, groups=[one], **{"class": "AdamW"})
    built.event("optimizer", index=1, groups=[one, two], **{"class": "SGD"})
    built.event("epoch", dataset="Rows", dataset_size=9, batches=3, workers=2, fingerprint="ab")
    built.event("epoch", step=5, dataset="Later", dataset_size=7)
    run = load_run(built.write())
    with Store.open(tmp_path).session([run]) as session:
        found = recorded_settings(session, run)
    assert found == {
        "recorded.optimizer.class": "AdamW",
        "recorded.optimizer.lr": 0.1,
        "recorded.optimizer.betas": [0.9, 0.99],
        "recorded.optimizer1.class": "SGD",
        "recorded.optimizer1.group0.lr": 0.1,
        "recorded.optimizer1.group0.betas": [0.9, 0.99],
        "recorded.optimizer1.group1.lr": 0.2,
        "recorded.data.dataset": "Rows",
        "recorded.data.dataset_size": 9,
        "recorded.data.fingerprint": "ab",
        "recorded.model.act": "ReLU()",
        "recorded.model.(root)": "Net()",
    }


@pytest.mark.parametrize(
    ("key", "sort"),
    [
        ("lr", Sort.SETTING),
        ("data.seed", Sort.REPEAT),
        ("environment.git_commit", Sort.CODE),
        ("environment.script_hash", Sort.CODE),
        ("environment.packages.numpy", Sort.ENVIRONMENT),
        ("recorded.optimizer.lr", Sort.OPTIMIZER),
        ("recorded.optimizer1.group0.lr", Sort.OPTIMIZER),
        ("recorded.model.optimizer", Sort.MODEL),
        ("recorded.data.dataset_size", Sort.DATA),
    ],
)
def test_a_setting_belongs_to_something(key: str, sort: Sort) -> None:
    assert sort_of(key) is sort


def test_what_the_configuration_says_of_the_optimizer_is_told_once() -> None:
    changes = [
        ConfigChange(key="lr", base=0.1, candidate=0.2),
        ConfigChange(key="recorded.optimizer.lr", base=0.1, candidate=0.2),
        ConfigChange(key="recorded.optimizer.eps", base=1e-8, candidate=1e-6),
    ]
    assert [change.key for change in by_sort(changes)[Sort.OPTIMIZER]] == ["recorded.optimizer.eps"]


def test_many_changes_are_named_in_part() -> None:
    changes = [ConfigChange(key=f"environment.k{i}", base=None, candidate="x" * 99) for i in "abcd"]
    text = named(changes)
    assert text.startswith("ka absent -> xxx")
    assert text.endswith("… and 2 more")
    commits = [ConfigChange(key="environment.git_commit", base="a" * 40, candidate="b" * 40)]
    assert named(commits) == "git_commit aaaaaaaaa -> bbbbbbbbb"


@pytest.mark.parametrize(
    ("base", "candidate", "same"),
    [
        ({"git_commit": "a", "git_dirty": False}, {"git_commit": "a", "git_dirty": False}, True),
        ({"git_commit": "a", "git_dirty": False}, {"git_commit": "b", "git_dirty": False}, False),
        ({"git_commit": "a", "git_dirty": True}, {"git_commit": "a", "git_dirty": True}, None),
        ({"git_commit": "a", "git_dirty": False}, {}, None),
        (
            {"git_commit": "a", "git_dirty": True, "git_diff": "1"},
            {"git_commit": "a", "git_dirty": True, "git_diff": "1"},
            True,
        ),
        (
            {"git_commit": "a", "git_dirty": True, "git_diff": "1"},
            {"git_commit": "a", "git_dirty": True, "git_diff": "2"},
            False,
        ),
    ],
)
def test_code_is_the_same_where_the_repository_says_so(
    base: dict[str, Json], candidate: dict[str, Json], same: object
) -> None:
    sides = ({f"environment.{k}": v for k, v in side.items()} for side in (base, candidate))
    assert same_code(*sides) is same
