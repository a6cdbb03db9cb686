"""What holds for every file: its length, its name, the documentation of its columns."""

import pkgutil
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from telemetry.tables import table, table_names

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400
SOURCES = sorted(
    path
    for folder in ("telemetry", "cli", "schemas", "tests", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
# Package searched at run time, and the name its modules define.
DISCOVERED = {
    "telemetry.diagnose.detectors": "DETECTOR",
    "telemetry.capture.statistics": "STATISTIC",
    "telemetry.cli.commands": "command",
}


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert len(lengths) > 20
    assert {str(path): n for path, n in lengths.items() if n > MAX_LINES} == {}


def modules(package: str) -> list[str]:
    return [entry.name for entry in pkgutil.iter_modules(import_module(package).__path__)]


@pytest.mark.parametrize("name", modules("telemetry.diagnose.detectors"))
def test_a_detector_is_named_after_its_file(name: str) -> None:
    detector = import_module(f"telemetry.diagnose.detectors.{name}").DETECTOR
    assert detector.id == name


@pytest.mark.parametrize("name", modules("telemetry.cli.commands"))
def test_a_verb_is_named_after_its_file(name: str) -> None:
    command = import_module(f"telemetry.cli.commands.{name}").command
    assert command.name == name.rstrip("_").replace("_", "-")


@pytest.mark.torch
@pytest.mark.parametrize("name", modules("telemetry.capture.statistics"))
def test_a_statistic_is_named_after_its_file(name: str) -> None:
    statistic = import_module(f"telemetry.capture.statistics.{name}").STATISTIC
    assert statistic.id == name


@pytest.mark.parametrize("name", table_names())
def test_every_column_says_what_it_holds(name: str) -> None:
    schema = table(name)
    assert schema.doc.endswith(".")
    undocumented = [column.name for column in schema.columns if not column.doc.endswith(".")]
    assert undocumented == []
    assert set(schema.sort) <= {column.name for column in schema.columns}


def test_a_schema_file_is_named_after_its_table() -> None:
    for path in (ROOT / "schemas").glob("*.toml"):
        assert tomllib.loads(path.read_text("utf-8"))["table"] == path.stem


def test_only_the_package_and_three_subpackages_export_names() -> None:
    exporting = [
        path.relative_to(ROOT / "telemetry").as_posix()
        for path in (ROOT / "telemetry").rglob("__init__.py")
        if "__all__" in path.read_text("utf-8")
    ]
    assert set(exporting) <= {"__init__.py", "explain/__init__.py", "evaluate/__init__.py"}
