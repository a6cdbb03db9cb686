"""The governor inside a recording, under a clock that only telemetry and the loop move."""

import json
from pathlib import Path

import pytest
import torch
from loops import records
from provenance import column, opened, scalar, tensors, x
from recorded import run_settings
from torch import nn

from telemetry.capture.budget.clocks import Clocks
from telemetry.capture.budget.floor import Floor
from telemetry.capture.run.recording import Recording
from telemetry.capture.steps.options import Options
from telemetry.capture.writer.writer import RunWriter
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.format.manifest import Status
from telemetry.format.step_flags import StepFlag
from telemetry.store.store import Store

READING_S = 0.002  # what a reading of the clock takes, so that recording costs something


class Clock:
    """Moves on when it is read: the more is recorded, the later it is."""

    now_s = 50.0

    def __call__(self) -> float:
        self.now_s += READING_S
        return self.now_s


def recorded(store: Path, n_steps: int, *, step_s: float, **changes: object) -> Path:
    """A run of one linear layer whose steps take so long."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    options: dict[str, object] = {
        "every": None,
        "overhead_budget": 0.05,
        "overhead_allowance_s": 1.0,
        "histograms": False,
        "activations": False,
        "flight_recorder": 0,
        "strict": True,
        **changes,
    }
    clock = Clock()
    writer = RunWriter.open(run_settings(store))
    recording = Recording(
        model,
        [optimizer],
        options=Options(**options),  # type: ignore[arg-type]
        writer=writer,
        clocks=Clocks.alone(clock),
    )
    for _ in range(n_steps):
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        clock.now_s += step_s
    recording.close(Status.FINISHED, None)
    return writer.ref.path


def test_cadence_changes_are_events_and_samples_lie_on_the_cadence(tmp_path: Path) -> None:
    run = recorded(tmp_path, 600, step_s=0.05)
    events = [row for row in records(run, "events") if row["kind"] == "cadence"]
    assert events
    changes = {row["step"]: json.loads(str(row["payload"])) for row in events}
    cadence, n_found, floor = 1, 0, Floor(every=1, total_steps=None)
    for row in records(run, "steps"):
        is_sampled = bool(int(str(row["flags"])) & StepFlag.SAMPLED)
        n_found += is_sampled
        step = int(str(row["step"]))
        assert not is_sampled or step % cadence == 0 or floor.has(step)
        if row["step"] in changes:
            change = changes[row["step"]]
            assert change["before"] == cadence
            cadence = change["after"]
    assert 20 < n_found < 500
    assert n_sampled(run) == n_found


def test_what_samples_cost_is_kept_to_the_promise(tmp_path: Path) -> None:
    run = recorded(tmp_path, 600, step_s=0.05)
    rows = records(run, "steps")
    spent_s, excess_s = 0.0, -1.0
    plain_s = min(float(str(row["overhead_s"])) for row in rows)
    for row in rows:
        # What other steps take, no cadence makes rarer.
        if int(str(row["flags"])) & StepFlag.SAMPLED:
            spent_s += float(str(row["overhead_s"])) - plain_s
        excess_s = max(excess_s, spent_s - max(1.0, 0.05 * float(str(row["elapsed_s"]))))
    assert excess_s <= 0


def n_sampled(run: Path) -> int:
    return len({row["step"] for row in records(run, "tensor_stats")})


def test_without_a_limit_every_step_is_sampled(tmp_path: Path) -> None:
    run = recorded(tmp_path, 40, step_s=0.0, overhead_budget=None, overhead_allowance_s=0.0)
    assert n_sampled(run) == 40


def test_a_budget_of_nothing_leaves_the_allowance(tmp_path: Path) -> None:
    run = recorded(tmp_path, 40, step_s=0.01, overhead_budget=0.0, overhead_allowance_s=0.1)
    assert 0 < n_sampled(run) < 20


def test_a_cadence_that_was_asked_for_is_kept_where_it_costs_little(tmp_path: Path) -> None:
    run = recorded(tmp_path, 40, step_s=10.0, every=8)
    assert {row["step"] for row in records(run, "tensor_stats")} == {0, 8, 16, 24, 32}


def test_calls_count_where_the_optimizer_never_steps(tmp_path: Path) -> None:
    model = scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with opened(model, optimizer, tmp_path) as telemetry:
        for index in range(80):
            model(x(float(index))).sum().backward()
            telemetry.step(loss=float(index))
    losses = column(telemetry, "loss")
    assert losses[0] == sum(range(64)) / 64
    assert losses[1:] == [float(index) for index in range(64, 80)]
    assert telemetry.path is not None
    events = [row for row in records(telemetry.path, "events") if "never" in str(row["kind"])]
    assert [(row["step"], row["severity"]) for row in events] == [(0, "warning")]
    assert column(telemetry, "backward_calls") == [64] + [1] * 16
    stats = records(telemetry.path, "tensor_stats")
    gradients = {row["step"]: row["sum"] for row in stats if row["kind"] == "gradient"}
    assert gradients == {step: sum(range(64 + step)) for step in range(1, 17)}
    assert {row["n_zero"] for row in stats if row["kind"] == "update"} == {1}
    assert column(telemetry, "lr") == [None] + [1.0] * 16
    store = Store.open(tmp_path)
    cause, effect = diagnose_run(store, store.runs()[0]).findings
    assert (cause.detector, cause.consequence_of) == ("no_optimizer_step", None)
    assert (effect.detector, effect.layers) == ("unchanged_parameters", ("weight",))
    assert effect.consequence_of == "no_optimizer_step"


def test_an_optimizer_that_steps_after_all_is_sampled_once_a_step(tmp_path: Path) -> None:
    model = scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with opened(model, optimizer, tmp_path) as telemetry:
        for index in range(80):
            model(x(1.0)).sum().backward()
            if index >= 70:
                optimizer.step()
            telemetry.step(loss=1.0)
    rows = tensors(telemetry)  # each exists once
    updates = [
        row["n_zero"] for (_, _, kind), row in sorted(rows.items(), key=str) if kind == "update"
    ]
    assert sorted(map(str, updates)) == ["0"] * 10 + ["1"] * 6


def test_what_optimizers_that_never_step_share_is_sampled_after_each_pass(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizers = [torch.optim.SGD(part.parameters(), lr=1.0) for part in (model, model[1])]
    with opened(model, optimizers, tmp_path) as telemetry:
        for _ in range(66):
            for _ in range(2):
                model(torch.ones(1, 2)).sum().backward()
            telemetry.step(loss=1.0)
    sampled = {(step, name) for step, name, kind in tensors(telemetry) if kind == "gradient"}
    names = {name for name, _ in model.named_parameters()}
    assert {(step, name) for step in (1, 2) for name in names} <= sampled


def test_a_cadence_that_the_budget_forbids_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = recorded(tmp_path, 400, step_s=0.004, every=5, activations=True)
    (line,) = (r.getMessage() for r in caplog.records if "every=5" in r.getMessage())
    event = next(row for row in records(run, "events") if row["kind"] == "cadence")
    after = json.loads(str(event["payload"]))["after"]
    assert f"after step {event['step']}, 1 step in {after} is sampled for now" in line
    assert json.loads((run / "run.json").read_text())["summary"]["every"] == 5
    assert 24 <= n_sampled(run) < 80


def test_a_cadence_that_costs_little_needs_no_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorded(tmp_path, 40, step_s=10.0, every=5)
    recorded(tmp_path, 400, step_s=0.01)  # nothing was asked for
    assert caplog.records == []
