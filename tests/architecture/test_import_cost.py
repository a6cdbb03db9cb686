"""What is loaded when: a training script pays for torch only, `--help` for click only."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "pyarrow", "duckdb", "rich", "numpy", "sklearn"}


def loaded_by(code: str) -> set[str]:
    """Top-level modules in `sys.modules` after a program ran in a fresh interpreter."""
    report = "\nimport sys\nprint('|'.join({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split("|"))


def test_importing_the_package_loads_no_library() -> None:
    assert loaded_by("import telemetry") & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["runs", "--help"], ["--version"]])
def test_help_and_version_load_no_library(arguments: list[str]) -> None:
    code = f"from telemetry.cli.main import run\nassert run({arguments!r}) == 0"
    assert loaded_by(code) & HEAVY == set()


def test_help_of_whatever_explains_loads_no_library() -> None:
    code = (
        "from telemetry.cli.main import run\nfrom telemetry.cli.commands.explain import command\n"
        "for part in command.commands:\n    assert run(['explain', part, '--help']) == 0"
    )
    assert loaded_by(code) & {*HEAVY, "captum", "matplotlib", "PIL"} == set()


def test_what_judges_models_is_loaded_when_it_is_used() -> None:
    assert loaded_by("from telemetry import evaluate\ndir(evaluate)") & HEAVY == set()
    used = loaded_by("from telemetry import evaluate\nevaluate.slices.find")
    assert used & HEAVY >= {"duckdb", "numpy"}
    assert not used & {"torch", "sklearn", "matplotlib"}


def test_listing_the_verbs_imports_none_of_them() -> None:
    code = (
        "import sys\nfrom telemetry.cli.main import run\nrun(['--help'])\n"
        "assert not [m for m in sys.modules if m.startswith('telemetry.cli.commands.')]"
    )
    assert "telemetry" in loaded_by(code)


def test_what_waits_for_a_training_at_python_s_start_loads_no_library() -> None:
    """Nor could it: torch may lie in a folder that Python has yet to put on its path."""
    code = "import telemetry.capture.auto_start as waiting\nwaiting.start()"
    assert loaded_by(code) & HEAVY == set()
