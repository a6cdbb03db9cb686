"""What is loaded when: a training script pays for torch only, `--help` for click only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from asked_answers import keep_attribution
from folds import CV_ID, add_folds
from judged_examples import judged_run

TESTS = Path(__file__).resolve().parents[1]
RUNS_MODELS = {"torch", "captum", "sklearn", "scipy", "matplotlib", "PIL"}
HEAVY = {"torch", "pyarrow", "duckdb", "rich", "numpy", "sklearn"}


def loaded_by(code: str) -> set[str]:
    """Top-level modules in `sys.modules` after a program ran in a fresh interpreter."""
    report = "\nimport sys\nprint('|'.join({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + report],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(TESTS / "support")},
    )
    return set(done.stdout.splitlines()[-1].split("|"))


def test_importing_the_package_loads_no_library() -> None:
    assert loaded_by("import telemetry") & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["runs", "--help"], ["--version"]])
def test_help_and_version_load_no_library(arguments: list[str]) -> None:
    code = f"from telemetry.cli.main import run\nassert run({arguments!r}) == 0"
    assert loaded_by(code) & HEAVY == set()


def test_a_list_of_runs_that_are_over_loads_no_library(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom telemetry.format.manifest import Manifest, write_manifest\n"
        f"store = Path({str(tmp_path)!r})\n"
        "(folder := store / 'project=p' / 'run=a').mkdir(parents=True)\n"
        "now = '2026-01-02T03:04:05Z'\n"
        "metrics = {'loss': {'last': 1.0}}\n"
        "summary = {'steps': 40, 'loss_to': 39, 'loss_trend': [1.0], 'metrics': metrics}\n"
        "write_manifest(folder, Manifest(run='a', project='p', name='n', started=now,\n"
        "    heartbeat=now, status='finished', closed=True, summary=summary))\n"
        "from telemetry.cli.main import run\n"
        "assert run(['--store', str(store), 'runs']) == 0"
    )
    assert loaded_by(code) & HEAVY == set()


def test_help_of_whatever_explains_loads_no_library() -> None:
    code = (
        "from telemetry.cli.main import run\nfrom telemetry.cli.commands.explain import command\n"
        "for part in command.commands:\n    assert run(['explain', part, '--help']) == 0"
    )
    assert loaded_by(code) & {*HEAVY, "captum", "matplotlib", "PIL"} == set()


def test_no_verb_that_reads_a_store_loads_what_runs_a_model(tmp_path: Path) -> None:
    """Nor does the help of any verb or part."""
    store = tmp_path / "store"
    for name, rate in (("before", 9), ("after", 3)):
        folder = judged_run(store, name, [place % rate > 0 for place in range(200)])
    keep_attribution(folder, "a1b2c3d4e5f60718")
    add_folds(store, {"lr": 0.1}, [0.8, 0.7, 0.9], order=0)
    add_folds(store, {"lr": 0.2}, [0.7, 0.6, 0.8], order=1)
    queries = [
        ["runs"],
        ["show", "after"],
        ["diagnose", "after"],
        ["layers", "after"],
        ["examples", "after"],
        ["slices", "after"],
        ["slices", "after", "--where", "label = '3'"],
        ["diff", "before", "after"],
        ["diff", "before", "after", "--slices"],
        ["hypotheses", "list"],
        ["cv", "compare", CV_ID],
        ["explain", "list", "after"],
        ["explain", "show", "a1b2"],
        ["explain", "weights", "after"],
        ["query", "SELECT run FROM runs"],
        ["export", "after", str(tmp_path / "out")],
        ["detectors"],
        ["delete", "before", "--yes"],
    ]
    code = (
        "from telemetry.cli import main\n"
        "import click\n"
        "group = main.group()\n"
        "for verb in group.list_commands(click.Context(group)):\n"
        "    found = group.get_command(click.Context(group), verb)\n"
        "    for part in ([], *([name] for name in getattr(found, 'commands', ()))):\n"
        "        assert main.run([verb, *part, '--help']) == 0\n"
        f"for words in {queries!r}:\n"
        f"    code = main.run(['--store', {str(store)!r}, *words])\n"
        "    assert code in {0, 1, 3}, (words, code)\n"
    )
    assert loaded_by(code) & RUNS_MODELS == set()


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
    code = "import telemetry.capture.auto.start as waiting\nwaiting.start()"
    assert loaded_by(code) & HEAVY == set()


@pytest.mark.torch
def test_a_question_loads_what_its_method_needs() -> None:
    """Neither the compiler of torch nor captum where it can do without: both take a second."""
    code = (
        "import torch\nfrom pictures import Pictures, build\nfrom telemetry import explain\n"
        "subject = explain.load(build(), dataset=Pictures())\n"
        "explain.evaluate(subject)\n"
        "import sys, telemetry.explain.evaluation.evaluate_answers\n"
        "assert not {'PIL', 'duckdb', 'torch._dynamo'} & set(sys.modules), sys.modules.keys()\n"
        "explain.attribute(subject, '0', 'pred', method='guided', check=False)\n"
        "explain.features(subject, '1')\n"
        "explain.perturb(subject, '0', 'brightness')\n"
        "import sys\nassert 'torch._dynamo' not in sys.modules"
    )
    assert loaded_by(code) & {"captum", "sklearn", "matplotlib"} == set()
