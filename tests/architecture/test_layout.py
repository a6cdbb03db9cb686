"""What holds for every file: its length, its name, the documentation of its columns."""

import pkgutil
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from telemetry.format.tables import table, table_names

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400
SOURCES = sorted(
    path
    for folder in ("telemetry", "cli", "schemas", "tests", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert len(lengths) > 20
    assert {str(path): n for path, n in lengths.items() if n > MAX_LINES} == {}


def modules(package: str) -> list[str]:
    return [entry.name for entry in pkgutil.iter_modules(import_module(package).__path__)]


def rules() -> list[str]:
    name = "telemetry.diagnose.rules"
    found = pkgutil.walk_packages(import_module(name).__path__, f"{name}.")
    return [entry.name for entry in found if not entry.ispkg]


@pytest.mark.parametrize("name", rules())
def test_a_detector_is_named_after_its_file(name: str) -> None:
    assert import_module(name).DETECTOR.id == name.rpartition(".")[2]


def test_the_tests_of_a_rule_lie_where_the_rule_does() -> None:
    places = {tuple(name.split(".")[-2:]) for name in rules()}
    folder = ROOT / "tests" / "diagnose" / "rules"
    for path in folder.rglob("test_*.py"):
        assert (*path.parts[-2:-1], path.stem.removeprefix("test_")) in places, path


@pytest.mark.parametrize("name", modules("telemetry.cli.commands"))
def test_a_verb_is_named_after_its_file(name: str) -> None:
    command = import_module(f"telemetry.cli.commands.{name}").command
    assert command.name == name.rstrip("_").replace("_", "-")


@pytest.mark.torch
@pytest.mark.parametrize("name", modules("telemetry.capture.parameters.statistics"))
def test_a_statistic_is_named_after_its_file(name: str) -> None:
    statistic = import_module(f"telemetry.capture.parameters.statistics.{name}").STATISTIC
    assert statistic.id == name


@pytest.mark.torch
@pytest.mark.parametrize("name", modules("telemetry.capture.quantities"))
def test_a_quantity_is_named_after_its_file_and_fills_columns_of_its_own(name: str) -> None:
    quantity = import_module(f"telemetry.capture.quantities.{name}").QUANTITY
    assert quantity.id == name
    known = {column.name for column in table("steps").columns}
    assert {*quantity.columns, *quantity.corrects} <= known


@pytest.mark.parametrize("name", table_names())
def test_every_column_says_what_it_holds(name: str) -> None:
    schema = table(name)
    assert schema.doc.endswith(".")
    undocumented = [column.name for column in schema.columns if not column.doc.endswith(".")]
    assert undocumented == []
    assert set(schema.sort) <= {column.name for column in schema.columns}


@pytest.mark.parametrize("name", table_names())
def test_a_new_column_says_since_which_version_of_its_table_it_is_there(name: str) -> None:
    schema = table(name)
    assert max(column.since for column in schema.columns) == schema.version


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
