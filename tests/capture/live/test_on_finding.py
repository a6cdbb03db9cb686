"""Real trainings that are judged while they run; each diagnosis ends before training goes on."""

import logging
import multiprocessing
import os
import pickle
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from example_results import DIAGNOSIS
from loops import records
from torch import Tensor, nn
from torch.nn import functional

from telemetry import Finding, TelemetryCallback, TrainingStopped
from telemetry.capture.isolation.torch_state import in_backward
from telemetry.capture.live import diagnosis
from telemetry.capture.live.child import Child, Ended
from telemetry.errors import CaptureError
from telemetry.finding import Severity
from telemetry.format.live_findings import LiveFindings, write_findings
from telemetry.format.manifest import Status, read_manifest

N_STEPS = 45
FAULT_STEP = 25
NAMES = frozenset(finding.detector for finding in DIAGNOSIS.findings)
FOUND = LiveFindings(findings=DIAGNOSIS.findings, exact=NAMES, n_steps=40)
JUDGED_STEP = 39  # the first that ends after the diagnosis is the next one


@pytest.fixture(autouse=True)
def _no_child_after_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """Real diagnoses; the writer thread waits for each."""
    started: list[Child] = []
    start = diagnosis.start_child

    def start_and_wait(command: Sequence[str]) -> Child:
        started.append(start(command))
        started[-1].wait()
        return started[-1]

    monkeypatch.setattr(diagnosis, "start_child", start_and_wait)
    return started


class Answered:
    """A child that has found something before anybody asks."""

    def __init__(self, command: Sequence[str]) -> None:
        write_findings(Path(command[-1]), FOUND)

    def poll(self) -> Ended:
        return Ended(code=0, cpu_s=0.1)

    def kill(self) -> None:
        pass


@pytest.fixture
def _answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "start_child", Answered)


answered = pytest.mark.usefixtures("_answered")


class Loop:
    """A classification that goes well unless its learning rate is raised in the middle."""

    def __init__(self, *, fault: bool) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.fault = fault
        self.step = -1

    def steps(self) -> Iterator[Tensor]:
        teacher = torch.randn(8, 4)
        for self.step in range(N_STEPS):
            inputs = torch.randn(64, 8)
            if self.fault and self.step == FAULT_STEP:
                self.optimizer.param_groups[0]["lr"] = 1e6
            loss = functional.cross_entropy(self.model(inputs), (inputs @ teacher).argmax(1))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield loss.detach()

    def watched(self, store: Path, **options: object) -> TelemetryCallback:
        settings = {"store": store, "every": 1, "overhead_budget": None, **options}
        return TelemetryCallback(self.model, self.optimizer, **settings)  # type: ignore[arg-type]

    def run(self, store: Path, *, calls: bool = True, **options: object) -> Path:
        """Train to the end, judged once; the folder of the run."""
        with self.watched(store, **options) as telemetry:
            assert telemetry.path is not None
            for loss in self.steps():
                if calls:
                    telemetry.step(loss=loss)
                if self.step == JUDGED_STEP:
                    judge(telemetry)
            return telemetry.path


def judge(telemetry: TelemetryCallback) -> None:
    """Write what was recorded, judge it, and have the answer taken; a look may be going on."""
    recording = telemetry._recording
    assert recording is not None
    recording._send(final=False)  # as it does four times a second
    for _ in range(2):
        assert recording.writer.flush(timeout_s=60)


def test_a_run_gone_wrong_is_stopped_at_the_next_step(
    tmp_path: Path, children: list[Child]
) -> None:
    loop = Loop(fault=True)
    with pytest.raises(TrainingStopped) as caught:
        loop.run(tmp_path, on_finding="stop")
    assert children
    assert loop.step == JUDGED_STEP + 1
    assert caught.value.finding.severity is Severity.ERROR
    # Steps are written in packets: the first look may see the NaN before the step that caused it.
    assert "not finite at step 29" in str(caught.value)
    (run,) = (tmp_path / "project=default").iterdir()
    manifest = read_manifest(run)
    assert manifest.status is Status.FAILED
    assert manifest.error is not None
    assert manifest.error["type"] == "TrainingStopped"
    assert [row["step"] for row in records(run, "steps")] == list(range(loop.step + 1))
    assert not list(run.glob(".findings*"))


@answered
def test_a_loop_without_calls_is_stopped_after_a_whole_step(tmp_path: Path) -> None:
    plain = Loop(fault=False)
    for _ in plain.steps():
        if plain.step == JUDGED_STEP + 1:
            break
    loop = Loop(fault=False)
    with pytest.raises(TrainingStopped):
        loop.run(tmp_path, calls=False, on_finding="stop")
    assert loop.step == plain.step
    assert all(map(torch.equal, plain.model.parameters(), loop.model.parameters()))


@answered
def test_a_step_that_ends_within_a_backward_pass_ends_after_it(tmp_path: Path) -> None:
    """An optimizer for each parameter, as soon as its gradient is there."""
    loop = Loop(fault=False)
    parameters = list(loop.model.parameters())
    optimizers = [torch.optim.SGD([parameter], lr=0.1) for parameter in parameters]
    for parameter, optimizer in zip(parameters, optimizers, strict=True):
        parameter.register_post_accumulate_grad_hook(lambda _, own=optimizer: own.step())
    telemetry = TelemetryCallback(
        loop.model, optimizers, store=tmp_path, overhead_budget=None, on_finding="stop"
    )
    within: list[bool] = []
    with pytest.raises(TrainingStopped), telemetry:
        for number in range(N_STEPS):
            try:
                loop.model(torch.randn(4, 8)).sum().backward()
            finally:
                within.append(in_backward())
            if number == JUDGED_STEP:
                judge(telemetry)
    assert len(within) == JUDGED_STEP + 2
    assert not any(within)


def test_a_healthy_run_hears_nothing(tmp_path: Path, children: list[Child]) -> None:
    told: list[Finding] = []
    Loop(fault=False).run(tmp_path, on_finding=told.append)
    assert children
    assert told == []


def test_a_run_is_judged_before_any_step_of_it_is_written(
    tmp_path: Path, children: list[Child]
) -> None:
    loop = Loop(fault=False)
    with loop.watched(tmp_path, on_finding="stop") as telemetry:
        telemetry.step(loss=next(loop.steps()))
        recording = telemetry._recording
        assert recording is not None
        assert recording.writer.flush(timeout_s=60)
        assert telemetry.path is not None
        assert not (telemetry.path / "steps").exists()
    (child,) = children
    ended = child.poll()
    assert ended is not None
    assert ended.code == 0


@answered
def test_a_function_is_told_each_finding_once_between_two_steps(tmp_path: Path) -> None:
    loop = Loop(fault=True)
    told: list[tuple[int, Finding, int]] = []
    loop.run(
        tmp_path,
        on_finding=lambda finding: told.append((loop.step, finding, threading.get_ident())),
    )
    assert {step for step, _, _ in told} == {JUDGED_STEP + 1}
    assert {thread for _, _, thread in told} == {threading.get_ident()}
    expected = [f for f in DIAGNOSIS.findings if f.severity is not Severity.INFO]
    assert [finding for _, finding, _ in told] == expected


@answered
def test_warn_says_it_once_at_the_line_of_the_loop(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="^telemetry: ") as caught:
        run = Loop(fault=True).run(tmp_path, on_finding="warn")
    texts = [str(warning.message) for warning in caught]
    assert len(set(texts)) == len(texts)
    assert "telemetry: error learning_rate_too_high" in texts[0]
    assert texts[0].endswith(f"More: telemetry diagnose {run.name[-6:]}")
    assert {warning.filename for warning in caught} == {__file__}


def broken(finding: Finding) -> None:
    raise ZeroDivisionError(finding.detector)


@answered
def test_an_error_of_the_function_is_contained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Loop(fault=True).run(tmp_path, on_finding=broken)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        "telemetry: on_finding failed and is switched off"
    ]
    messages = [str(row["message"]) for row in records(run, "events")]
    assert sum(message.startswith("on_finding switched off") for message in messages) == 1
    assert len(records(run, "steps")) == N_STEPS


@answered
def test_strict_raises_it(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="on_finding: ZeroDivisionError"):
        Loop(fault=True).run(tmp_path, on_finding=broken, strict=True)


@answered
def test_a_function_may_stop_the_training_itself(tmp_path: Path) -> None:
    def stop(finding: Finding) -> None:
        raise TrainingStopped(finding)

    loop = Loop(fault=True)
    with pytest.raises(TrainingStopped) as caught:
        loop.run(tmp_path, on_finding=stop)
    assert loop.step == JUDGED_STEP + 1
    assert str(caught.value).startswith(f"{caught.value.finding.detector}: ")


@answered
def test_whoever_goes_on_after_it_was_stopped_can(tmp_path: Path) -> None:
    loop = Loop(fault=True)
    telemetry = loop.watched(tmp_path, on_finding="stop")
    n_stopped = 0
    for loss in loop.steps():
        try:
            telemetry.step(loss=loss)
        except TrainingStopped:
            n_stopped += 1
        if loop.step in {JUDGED_STEP, JUDGED_STEP + 2}:
            judge(telemetry)
    telemetry.close()
    assert n_stopped == 1
    assert telemetry.path is not None
    assert len(records(telemetry.path, "steps")) == N_STEPS


def test_training_is_bit_identical(tmp_path: Path, children: list[Child]) -> None:
    def state(loop: Loop) -> list[Tensor]:
        return [*loop.model.state_dict().values(), torch.get_rng_state()]

    plain = Loop(fault=True)
    for _ in plain.steps():
        pass
    told: list[Finding] = []
    judged = Loop(fault=True)
    judged.run(tmp_path, on_finding=told.append)
    assert children
    assert told
    for one, other in zip(state(plain), state(judged), strict=True):
        assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))


def test_without_duckdb_training_goes_on_with_one_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    children: list[Child],
) -> None:
    monkeypatch.setattr(diagnosis.importlib.util, "find_spec", lambda _name: None)
    run = Loop(fault=True).run(tmp_path, on_finding="stop")
    (message,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert message.endswith("the run is not diagnosed while it trains: duckdb is not installed")
    assert children == []
    assert len(records(run, "steps")) == N_STEPS


def test_a_child_that_crashes_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = diagnosis.start_child
    crash = ["-c", "import os; os.abort()"]

    def start_and_crash(command: Sequence[str]) -> Child:
        child = start([command[0], *crash])
        child.wait()
        return child

    monkeypatch.setattr(diagnosis, "start_child", start_and_crash)
    loop = Loop(fault=True)
    with loop.watched(tmp_path, on_finding="stop") as telemetry:
        for loss in loop.steps():
            telemetry.step(loss=loss)
            if loop.step % 10 == 0:
                judge(telemetry)
    run = telemetry.path
    assert run is not None
    (message,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "exit code -6" in message
    assert len(records(run, "steps")) == N_STEPS


def test_only_the_first_rank_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: list[Child]
) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("TELEMETRY_RUN_ID", "r")):
        monkeypatch.setenv(name, value)
    Loop(fault=True).run(tmp_path, on_finding="stop")
    assert children == []


def _step_of_a_worker(telemetry: TelemetryCallback, queue: "multiprocessing.Queue[str]") -> None:
    try:
        telemetry.step()
        telemetry.close()
        queue.put("went on")
    except BaseException as error:  # noqa: BLE001 - what is asked
        queue.put(repr(error))


@answered
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_is_told_nothing_and_ends_nothing(tmp_path: Path) -> None:
    loop = Loop(fault=True)
    telemetry = loop.watched(tmp_path, on_finding="stop")
    for loss in loop.steps():
        if loop.step > 3:
            break
        telemetry.step(loss=loss)
    judge(telemetry)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_step_of_a_worker, args=(telemetry, queue))
    worker.start()
    assert queue.get(timeout=60) == "went on"
    worker.join()
    with pytest.raises(TrainingStopped):
        telemetry.step(loss=loss)
    telemetry.close()


def test_the_exception_survives_a_trip_to_another_process() -> None:
    stopped = TrainingStopped(replace(DIAGNOSIS.findings[0], evidence={}), "why")
    copy = pickle.loads(pickle.dumps(stopped))  # noqa: S301 - our own
    assert str(copy) == "why"
    assert copy.finding == stopped.finding


def test_no_child_outlives_the_callback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers: list[Child] = []

    def sleep(command: Sequence[str]) -> Child:
        program = "import time; time.sleep(600)"
        sleepers.append(Child([command[0], "-c", program], dict(os.environ)))
        return sleepers[-1]

    monkeypatch.setattr(diagnosis, "start_child", sleep)
    Loop(fault=False).run(tmp_path, on_finding="stop")
    (sleeper,) = sleepers
    ended = sleeper.poll()
    assert ended is not None
    assert ended.code == -9
