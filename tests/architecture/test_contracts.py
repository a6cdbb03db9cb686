"""The import contracts of pyproject.toml, on a copy with the shape of the installed package."""

import subprocess
import sys
from pathlib import Path

import pytest
from check import SCRIPTS, stage


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("contracts") / "stage")


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(SCRIPTS / "lint-imports"), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_import_contract_is_kept(staged: Path) -> None:
    done = lint(staged)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_import_of_duckdb_inside_a_function_of_capture_breaks_a_contract(tmp_path: Path) -> None:
    broken = stage(tmp_path / "stage")
    module = broken / "telemetry" / "capture" / "smuggler.py"
    module.write_text("def smuggle() -> None:\n    import duckdb\n", encoding="utf-8")
    done = lint(broken)
    assert done.returncode != 0
    assert "telemetry.capture.smuggler -> duckdb" in done.stdout


def test_the_copy_has_every_module_of_the_installed_package(staged: Path) -> None:
    names = {path.name for path in (staged / "telemetry").iterdir()}
    assert {"cli", "schemas", "capture", "store", "diagnose", "compare"} <= names
    assert sys.version_info >= (3, 11)
