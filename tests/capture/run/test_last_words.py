import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from injected import FINDING
from loops import Training, mlp, vectors

from telemetry import TelemetryCallback
from telemetry.capture.run.last_words import Ended
from telemetry.cli.main import run as telemetry_command
from telemetry.format.live_findings import LiveFindings
from telemetry.requests.record import AUTO_VARIABLE, RecordRequest

pytestmark = pytest.mark.torch

ENDED = Ended(run="2z9dae", first_step=0, n_steps=660, n_samples=24, every=None, has_failed=False)


@pytest.fixture(autouse=True)
def _spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELEMETRY_QUIET", raising=False)
    monkeypatch.chdir(tmp_path)


def train(n_steps: int, **options: object) -> TelemetryCallback:
    training = Training(mlp, vectors)
    telemetry = TelemetryCallback(
        training.model, training.optimizer, overhead_budget=None, **options
    )
    for loss in training.steps(n_steps):
        telemetry.step(loss=loss)
    return telemetry


def test_at_the_end_of_a_recording_a_line_on_stderr_names_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    telemetry = train(6, every=2)
    assert capsys.readouterr() == ("", "")
    telemetry.close()
    telemetry.close()
    assert telemetry.run is not None
    short = telemetry.run[-6:]
    told = f"telemetry: run {short}, 6 steps, 3 samples → telemetry diagnose {short}\n"
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_whoever_wants_no_line_gets_none(
    by: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "variable":
        monkeypatch.setenv("TELEMETRY_QUIET", "1")
    train(2, quiet=by == "argument").close()
    assert capsys.readouterr() == ("", "")


def test_the_command_finds_the_run_from_the_shell_of_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(30, every=1, store=tmp_path / "my runs").close()
    command = shlex.split(capsys.readouterr().err.partition("→")[2])
    assert command[-2:] == ["--store", str(tmp_path / "my runs")]
    assert telemetry_command(command[1:]) == 0
    monkeypatch.setenv("TELEMETRY_STORE", str(tmp_path / "my runs"))
    train(2, store=tmp_path / "my runs").close()
    assert "--store" not in capsys.readouterr().err
    # `telemetry record --store` sets the variable for the script alone.
    monkeypatch.setenv(AUTO_VARIABLE, RecordRequest(names_store=True).to_variable())
    train(2).close()
    assert shlex.quote(str(tmp_path / "my runs")) in capsys.readouterr().err


def test_what_a_process_adds_to_a_run_is_told_as_its_part(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = train(4, every=2)
    first.close()
    capsys.readouterr()
    train(4, every=2, resume=first.run).fail(ValueError("boom"))
    assert ", failed after steps 4 to 7, 2 samples →" in capsys.readouterr().err


def test_other_ranks_and_runs_in_which_nothing_was_trained_say_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(0).close()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TELEMETRY_RUN_ID", "20260101-000000-abcdef")
    train(2).close()
    assert capsys.readouterr() == ("", "")


def test_what_was_found_while_it_trained_is_counted_without_duckdb(
    capsys: pytest.CaptureFixture[str],
) -> None:
    consequence = replace(FINDING, detector="e", consequence_of="d")
    telemetry = train(3, on_finding=id)
    assert telemetry._recording is not None
    telemetry._recording.news.post(
        LiveFindings(findings=(FINDING, consequence), exact=frozenset(), n_steps=2)
    )
    telemetry.close()
    assert ", 1 problem by step 2 →" in capsys.readouterr().err


def test_a_stream_that_is_closed_or_reads_ascii_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for make in (lambda: None, lambda: (tmp_path / "a").open("w", encoding="ascii")):
        stream = make()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            train(1).close()
        if stream is not None:
            stream.close()
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stderr", stream)
                train(1, strict=True).close()
    assert "1 step, 1 sample -> telemetry diagnose" in (tmp_path / "a").read_text("ascii")


@pytest.mark.parametrize(
    ("ended", "part"),
    [
        (ENDED, "run 2z9dae, 660 steps, 24 samples →"),
        (
            replace(ENDED, every=5),
            "24 samples (every=5 asked for 132, the budget allows no more) →",
        ),
        (replace(ENDED, every=5, n_samples=140), "660 steps, 140 samples →"),
        (replace(ENDED, every=5, first_step=4, n_steps=2, n_samples=0), "(every=5 asked for 1,"),
        (replace(ENDED, problems=(2, 660)), "24 samples, 2 problems →"),
    ],
)
def test_the_line_says_what_was_recorded(ended: Ended, part: str) -> None:
    assert part in ended.text
