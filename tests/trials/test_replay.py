"""Which runs can be started again, and what is said of those that cannot."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from telemetry.errors import UsageError
from telemetry.format.manifest import Manifest, Status
from telemetry.format.ownership import signed
from telemetry.format.replay import HIDDEN, REPLAY_KEY, Replay, script_digest
from telemetry.format.runs import RunRef
from telemetry.json_values import Json
from telemetry.requests.record import RecordRequest
from telemetry.store.runs.run import Run
from telemetry.trials.replay import command_line
from telemetry.trials.workspace import check_size, copy_folder

RUN_ID = "20260101-000000-abcdef"


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    script = tmp_path / "code" / "train.py"
    script.parent.mkdir()
    script.write_text("print('training')\n", "utf-8")
    return Replay(
        interpreter=sys.executable,
        words=("-O", "code/train.py", "--lr", "0.1"),
        script=str(script),
        script_hash=script_digest(script),
        folder=str(tmp_path),
    )


def _run(replay: Replay | None, *, variables: Mapping[str, Json] | None = None) -> Run:
    extra = {} if replay is None else signed(RUN_ID, "p", replay.to_json(), about=REPLAY_KEY)
    manifest = Manifest(
        run=RUN_ID,
        project="p",
        name="train",
        started="",
        heartbeat="",
        environment={"variables": dict(variables or {})},
        extra=extra,
    )
    ref = RunRef(project="p", run=RUN_ID, path=Path("store"))
    return Run(ref=ref, manifest=manifest, status=Status.FINISHED)


def _command(run: Run, *, changed_code: bool = False, trust: bool = False) -> tuple[str, ...]:
    return command_line(run, changed_code=changed_code, trust=trust).words


def test_a_run_is_started_as_it_was(replay: Replay) -> None:
    assert _command(_run(replay)) == (sys.executable, "-O", "code/train.py", "--lr", "0.1")


def test_a_script_that_was_named_by_its_whole_path_runs_from_the_copy(replay: Replay) -> None:
    named = replace(replay, words=(replay.script, "--data", replay.folder))
    assert _command(_run(named))[1:] == ("code/train.py", "--data", replay.folder)


def test_variables_are_those_of_the_recorded_run(replay: Replay) -> None:
    run = _run(replay, variables={"OMP_NUM_THREADS": "3", "HOME": "/elsewhere"})
    variables = command_line(run, changed_code=False, trust=False).variables
    assert variables["OMP_NUM_THREADS"] == "3"
    assert variables["PYTHONHASHSEED"] is None
    assert "HOME" not in variables


def test_options_of_the_recording_are_those_of_the_recorded_run(replay: Replay) -> None:
    request = RecordRequest(every=3, tags=("a",), metrics_from_stdout=True)
    recorded = replace(replay, request=request.to_variable())
    found = command_line(_run(recorded), changed_code=False, trust=False)
    assert found.request == request
    assert command_line(_run(replay), changed_code=False, trust=False).request == RecordRequest()


def test_changed_code_is_run_only_if_asked(replay: Replay) -> None:
    Path(replay.script).write_text("print('changed')\n", "utf-8")
    with pytest.raises(UsageError, match=r"train\.py has changed.*--changed-code"):
        _command(_run(replay))
    assert _command(_run(replay), changed_code=True)


def test_what_is_gone_is_named(replay: Replay) -> None:
    Path(replay.script).unlink()
    with pytest.raises(UsageError, match=r"the script .*train\.py is gone"):
        _command(_run(replay))
    with pytest.raises(UsageError, match="the interpreter /no/python is gone"):
        _command(_run(replace(replay, interpreter="/no/python")))


def test_a_run_without_a_script_cannot_be_replayed() -> None:
    with pytest.raises(UsageError, match="does not say how it was started"):
        _command(_run(None))


def test_a_hidden_argument_cannot_be_replayed(replay: Replay) -> None:
    with pytest.raises(UsageError, match="looks like a secret"):
        _command(_run(replace(replay, words=(*replay.words, "--api-key", HIDDEN))))


def test_the_command_of_a_foreign_run_is_refused_unless_it_is_trusted(replay: Replay) -> None:
    run = _run(replay)
    assert run.manifest is not None
    changed = replace(replay, words=(*replay.words, "--evil"))
    forged = {**run.manifest.extra, REPLAY_KEY: changed.to_json()}
    foreign = replace(run, manifest=replace(run.manifest, extra=forged))
    with pytest.raises(UsageError, match=r"--evil.*signature is not yours.*--trust-run"):
        _command(foreign)
    assert _command(foreign, trust=True)[-1] == "--evil"


def test_a_copy_leaves_out_the_store_and_environments(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    for name in ("store/run.json", ".git/HEAD", "venv/pyvenv.cfg", "data/x.csv", "train.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, "utf-8")
    (folder / "link").symlink_to("data")
    (folder / "outside").symlink_to("../elsewhere")
    copy_folder(folder, tmp_path / "copy", folder / "store")
    found = sorted(
        str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").iterdir()
    )
    assert found == ["data", "link", "outside", "train.py"]
    assert (tmp_path / "copy" / "data" / "x.csv").read_text("utf-8") == "data/x.csv"
    assert (tmp_path / "copy" / "link").resolve() == tmp_path / "copy" / "data"
    assert (tmp_path / "copy" / "outside").resolve() == tmp_path / "elsewhere"


def test_a_folder_that_is_too_large_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.trials.workspace.LIMIT_FILES", 2)
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match="--in-place"):
        check_size(tmp_path, tmp_path / "store")
