"""telemetry.toml and [tool.telemetry]: which file holds, what it says, what is wrong with it."""

from pathlib import Path

import pytest

from telemetry.configuration import Configuration, find_configuration, store_folder
from telemetry.diagnose.finding import Severity
from telemetry.diagnose.policy import Policy
from telemetry.diagnose.policy_file import load_policy
from telemetry.errors import UsageError

FULL = """
store = "runs"
fail_on = "error"
[detectors.dead_units]
dead_limit = 0.9
window_positions = 1024
severity = "info"
[detectors.input_stall]
enabled = false
[[suppress]]
detector = "vanishing_gradient"
layer = "encoder.*"
run = "base*"
tag = "pr-*"
reason = "a frozen encoder"
"""


def written(folder: Path, text: str, name: str = "telemetry.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def test_a_file_says_limits_switches_caps_and_suppressions(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, FULL))
    assert policy.limits == {"dead_units": {"dead_limit": 0.9, "window_positions": 1024.0}}
    assert policy.caps == {"dead_units": Severity.INFO}
    assert policy.disabled == {"input_stall": "telemetry.toml"}
    (entry,) = policy.suppressions
    assert (entry.layer, entry.run, entry.tag) == ("encoder.*", "base*", "pr-*")
    assert (entry.reason, entry.by) == ("a frozen encoder", "telemetry.toml")


def test_without_a_file_nothing_is_changed(tmp_path: Path) -> None:
    assert find_configuration(tmp_path).table == {}
    assert load_policy(tmp_path) == Policy()


def test_the_nearest_file_holds_alone(tmp_path: Path) -> None:
    written(tmp_path, 'fail_on = "never"\nstore = "far"\n')
    inner = written(tmp_path / "a" / "b", 'fail_on = "error"\n')
    deepest = inner / "c"
    deepest.mkdir()
    found = find_configuration(deepest)
    assert (found.path, found.fail_on, found.store) == (inner / "telemetry.toml", "error", None)


def test_the_own_file_wins_over_the_project_s_in_one_folder(tmp_path: Path) -> None:
    written(tmp_path, '[tool.telemetry]\nfail_on = "never"\n', "pyproject.toml")
    assert find_configuration(tmp_path).fail_on == "never"
    written(tmp_path, 'fail_on = "error"\n')
    assert find_configuration(tmp_path).fail_on == "error"


@pytest.mark.parametrize(
    "text", ["[project]\nname = 'telemetry'\n", "[tool.ruff]\n", "this is no TOML", "[tool]\n"]
)
def test_a_project_file_that_is_not_about_us_is_passed_over(tmp_path: Path, text: str) -> None:
    written(tmp_path, 'fail_on = "never"\n')
    inner = written(tmp_path / "inner", text, "pyproject.toml")
    assert find_configuration(inner).fail_on == "never"


def test_a_relative_store_lies_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "inner"
    written(tmp_path, 'store = "runs"\n')
    inner.mkdir()
    monkeypatch.chdir(inner)
    monkeypatch.delenv("TELEMETRY_STORE", raising=False)
    assert store_folder() == tmp_path / "runs"
    monkeypatch.setenv("TELEMETRY_STORE", "elsewhere")
    assert store_folder() == Path("elsewhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fail_on = \n", r"telemetry\.toml is not TOML: .*line 1"),
        ("fail-on = 'error'", r"telemetry\.toml: fail-on is unknown; did you mean fail_on\?"),
        ("[detectors]\ndead_unit = {}", r"detectors\.dead_unit = .*did you mean dead_units"),
        ("[detectors.dead_units]\ndead_limits = 1", r"dead_units\.dead_limits is unknown; did you"),
        ("[detectors.dead_units]\ndead_limit = 'x'", r'dead_limit = "x": write a number; the def'),
        ("[detectors.dead_units]\ndead_limit = true", r"dead_limit = true: write a number"),
        ("[detectors.dead_units]\ndead_limit = nan", r"dead_limit = nan: write a share above 0"),
        ("[detectors.dead_units]\ndead_limit = inf", r"dead_limit = inf: write a share above 0"),
        ("[detectors.dead_units]\ndead_limit = 1.5", r"dead_limit = 1\.5: write a share above 0"),
        ("[detectors.dead_units]\ndead_limit = -1", r"dead_limit = -1: write a share above 0"),
        ("[detectors.loss_not_decreasing]\nmin_steps = 0", r"min_steps = 0: write a number of at"),
        ("[detectors.dead_units]\nenabled = 0", r"dead_units\.enabled = 0: write true or false"),
        ("[detectors.dead_units]\nseverity = 'off'", r'severity = "off": choose error, warning'),
        ("detectors = 3", r"detectors = 3: write a table"),
        ("[detectors]\ndead_units = false", r"dead_units = false: write a table"),
        ("suppress = {}", r"suppress = a table: write a table \[\[suppress\]\]"),
        ("[[suppress]]\nreason = 'x'", r"suppress\[0\] has no detector"),
        ("[[suppress]]\ndetector = 'dead_units'", r"suppress\[0\] has no reason"),
        ("[[suppress]]\ndetector = 'dead'\nreason = 'x'", r'suppress\[0\]\.detector = "dead"'),
        ("[[suppress]]\ndetector = 'dead_units'\nreason = ' '", r"reason = .*non-empty"),
        ("[[suppress]]\nlayers = 'x'", r"suppress\[0\]\.layers is unknown; did you mean layer\?"),
        (
            "[[suppress]]\ndetector = 3\nreason = 'x'",
            r"suppress\[0\]\.detector = 3: write a non-empty text",
        ),
    ],
)
def test_what_is_wrong_is_named_by_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_policy(written(tmp_path, text))


def test_a_key_of_a_project_file_is_named_in_full(tmp_path: Path) -> None:
    text = "[tool.telemetry.detectors.dead_units]\ndead_limit = 2\n"
    with pytest.raises(
        UsageError, match=r"pyproject\.toml: tool\.telemetry\.detectors\.dead_units\.dead_limit"
    ):
        load_policy(written(tmp_path, text, "pyproject.toml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("store = 3", "store = 3: write the folder"), ("fail_on = 'all'", 'fail_on = "all": choose')],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    found = find_configuration(written(tmp_path, text))
    with pytest.raises(UsageError, match=message):
        _ = (found.store, found.fail_on)


def test_a_file_that_cannot_be_read_is_an_error_and_a_folder_of_that_name_is_none(
    tmp_path: Path,
) -> None:
    (tmp_path / "telemetry.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not TOML"):
        find_configuration(tmp_path)
    folder = tmp_path / "inner"
    (folder / "telemetry.toml").mkdir(parents=True)
    (tmp_path / "telemetry.toml").unlink()
    assert find_configuration(folder) == Configuration()
