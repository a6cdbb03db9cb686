from datetime import timedelta
from pathlib import Path

import pytest
from loops import Training, mlp, vectors
from torch import distributed

from telemetry import TelemetryCallback
from telemetry.capture.environment import ranks
from telemetry.capture.environment.ranks import exchanged_run_id, rank_and_world_size, shared_run_id
from telemetry.format.manifest import Status
from telemetry.format.runs import RUN_ID_VARIABLE, check_run_id
from telemetry.store.store import Store

VARIABLES = ("RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *ranks.JOB_VARIABLES, RUN_ID_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_one_process_is_rank_zero_of_one() -> None:
    assert rank_and_world_size() == (0, 1)
    assert shared_run_id(0, 1) is None


@pytest.mark.parametrize("names", [("RANK", "WORLD_SIZE"), VARIABLES[2:]])
def test_launchers_say_which_rank_this_is(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    monkeypatch.setenv(names[0], "3")
    monkeypatch.setenv(names[1], "8")
    assert rank_and_world_size() == (3, 8)


@pytest.mark.parametrize(("rank", "size"), [("x", "8"), ("3", ""), ("8", "8"), ("-1", "2")])
def test_nonsense_in_the_environment_is_ignored(
    monkeypatch: pytest.MonkeyPatch, rank: str, size: str
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    assert rank_and_world_size() == (0, 1)


def test_the_process_group_knows_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 5)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 6)
    assert rank_and_world_size() == (5, 6)


def test_ranks_agree_through_the_store_of_their_group(monkeypatch: pytest.MonkeyPatch) -> None:
    store = distributed.HashStore()
    monkeypatch.setattr(ranks, "_group_store", lambda: store)
    first = exchanged_run_id(store, rank=0, number=0)
    assert first is not None
    assert check_run_id(first) == first
    assert exchanged_run_id(store, rank=1, number=0) == first
    second = exchanged_run_id(store, rank=0, number=1)
    assert second != first
    assert exchanged_run_id(store, rank=1, number=1) == second
    monkeypatch.setattr(ranks, "_run_numbers", iter([0, 1]))
    assert shared_run_id(1, 2) == first
    assert shared_run_id(1, 2) == second


def test_a_rank_does_not_wait_for_ever_for_one_that_records_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wait_limit = timedelta(milliseconds=1)
    store = distributed.HashStore()
    assert exchanged_run_id(store, rank=1, number=0, wait_limit=wait_limit) is None
    assert "rank 0 records no run" in caplog.text


def test_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_ID_VARIABLE, "mine")
    assert shared_run_id(0, 1) == "mine"
    assert shared_run_id(1, 2) == "mine"


@pytest.mark.parametrize(
    ("variables", "run"),
    [
        ({"SLURM_JOB_ID": "123"}, "job-123"),
        ({"TORCHELASTIC_RUN_ID": "none", "SLURM_JOB_ID": "9"}, "job-9"),
        ({"TORCHELASTIC_RUN_ID": "a/b c"}, "job-a-b-c"),
        ({"TORCHELASTIC_RUN_ID": "none"}, None),
    ],
)
def test_without_a_group_the_launchers_job_is_the_id(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], run: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert shared_run_id(0, 2) == run
    assert shared_run_id(0, 1) is None


def test_a_real_process_group_is_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    where = tmp_path_factory.mktemp("group") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{where}", rank=0, world_size=1)
    try:
        assert rank_and_world_size() == (0, 1)
        run = shared_run_id(0, 2)
        assert run is not None
        assert check_run_id(run) == run
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("resume", [None, "auto"])
def test_ranks_that_share_nothing_have_a_run_each(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    resume: str | None,
) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        training = Training(mlp, vectors)
        with TelemetryCallback(
            training.model, training.optimizer, store=tmp_path, resume=resume
        ) as telemetry:
            for _ in training.steps(2):
                telemetry.step()
            state = telemetry.state_dict()
            telemetry.load_state_dict(state)  # another attempt of the same run
            for _ in training.steps(1):
                telemetry.step()
    said = [text for text in caplog.messages if "records its own run" in text]
    assert len(said) == 2
    assert "rank 1 of 2" in said[1]
    assert "TELEMETRY_RUN_ID" in said[1]
    store = Store.open(tmp_path)
    assert [(run.status, run.steps) for run in store.runs()] == [(Status.FINISHED, 3)] * 2
    with store.session(store.runs()) as session:
        rows = session.query("SELECT rank FROM steps")
    assert rows.ints("rank").tolist() == [0] * 6
