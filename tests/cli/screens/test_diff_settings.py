from dataclasses import replace

from example_results import diff_of

from telemetry.cli.screens.diff_settings import setting_lines
from telemetry.compare.settings.config_changes import ConfigChange
from telemetry.compare.terms import Verdict
from telemetry.json_values import Json

Change = tuple[str, Json, Json]


def lines(*changes: Change, shown: int | None = None) -> dict[str, str]:
    """Texts by label; the runs have no configuration of their own."""
    config = tuple(ConfigChange(key=k, base=b, candidate=c) for k, b, c in changes)
    diff = replace(diff_of([], [], Verdict.NO_CHANGE), config=config)
    return dict(setting_lines(diff, shown=shown))


def test_settings_are_told_by_what_they_belong_to() -> None:
    found = lines(
        ("seed", 0, 1),
        ("environment.git_commit", "0123456789abcdef", "fedcba9876543210"),
        ("environment.devices", ["A"], ["B"]),
        ("recorded.data.batch_size", 32, 64),
    )
    assert found == {
        "config": "none; seed 0 -> 1",
        "data": "batch_size 32 -> 64",
        "code": "git_commit 012345678 -> fedcba987",
        "machine": "devices ['A'] -> ['B']",
    }


def test_a_text_that_looks_like_the_other_number_is_quoted() -> None:
    assert lines(("lr", "0.1", 0.1))["config"] == "none; lr '0.1' -> 0.1"
    assert lines(("name", "a", "b"))["config"] == "none; name a -> b"
    assert lines(("name", None, "b"))["config"] == "none; name absent -> b"


def test_many_changes_are_counted() -> None:
    changes = [(f"recorded.model.{index}", f"A({index})", "B()") for index in range(9)]
    assert lines(*changes, shown=2)["model"] == "0 A(0) -> B(); 1 A(1) -> B(); 7 more with --json"
    assert lines(*changes)["model"].count("->") == 9


def test_changes_of_the_same_values_share_one_text_in_the_order_of_the_layers() -> None:
    changes = [(f"recorded.model.{index}", "ReLU()", "Tanh()") for index in (1, 11, 3, 9)]
    other = ("recorded.model.0", "Linear(2)", "Linear(4)")
    expected = "1, 3, 9, 11 ReLU() -> Tanh(); 0 Linear(2) -> Linear(4)"
    assert lines(*changes, other, shown=8)["model"] == expected
    assert lines(*changes, shown=2)["model"] == "1, 3 and 2 more ReLU() -> Tanh()"
    assert lines(*changes)["model"] == "1, 3, 9, 11 ReLU() -> Tanh()"
