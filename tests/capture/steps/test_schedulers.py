import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from loops import records
from provenance import column, opened, scalar, x
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer
from torch.optim import lr_scheduler as schedulers
from torch.optim.lr_scheduler import LRScheduler

from telemetry import TelemetryCallback


class Loop:
    """A recorded training of one weight."""

    def __init__(self, store: Path, make: type[Optimizer] = SGD, **options: object) -> None:
        self.model = scalar()
        self.optimizer = make(self.model.parameters(), lr=1.0)  # type: ignore[call-arg]
        self.telemetry = opened(self.model, self.optimizer, store, **options)

    def update(self) -> Tensor:
        loss: Tensor = self.model(x(1.0)).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def close(self) -> TelemetryCallback:
        self.telemetry.close()
        return self.telemetry


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return Loop(tmp_path)


def events(telemetry: TelemetryCallback, kind: str) -> list[Mapping[str, object]]:
    assert telemetry.path is not None
    found = [row for row in records(telemetry.path, "events") if row["kind"] == kind]
    return [{**row, "payload": json.loads(str(row["payload"]))} for row in found]


def test_calls_count_for_the_step_they_follow(loop: Loop) -> None:
    scheduler = schedulers.StepLR(loop.optimizer, step_size=2, gamma=0.5)
    for step in range(6):
        loop.telemetry.step(loss=loop.update())
        if step % 2:  # an epoch of two steps
            scheduler.step()
            scheduler.step()
    telemetry = loop.close()
    assert column(telemetry, "scheduler_calls") == [0, 2, 0, 2, 0, 2]
    assert column(telemetry, "lr") == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert events(telemetry, "hyperparameter") == []


@pytest.mark.parametrize("calls", [True, False])
def test_a_call_per_step_is_counted_with_and_without_calls_of_step(
    loop: Loop, *, calls: bool
) -> None:
    scheduler = schedulers.ExponentialLR(loop.optimizer, 0.5)
    for _ in range(4):
        loss = loop.update()
        scheduler.step()
        if calls:
            loop.telemetry.step(loss=loss)
    telemetry = loop.close()
    assert column(telemetry, "scheduler_calls") == [1, 1, 1, 1]
    assert column(telemetry, "lr") == [1.0, 0.5, 0.25, 0.125]


def test_a_scheduler_called_too_early_is_told_so(loop: Loop) -> None:
    scheduler = schedulers.ExponentialLR(loop.optimizer, 0.5)
    with pytest.warns(UserWarning, match="lr_scheduler.step"):
        scheduler.step()
    loop.update()
    for _ in range(2):
        scheduler.step()
        loop.update()
    telemetry = loop.close()
    assert column(telemetry, "lr") == [0.5, 0.25, 0.125]
    assert sum(map(int, map(str, column(telemetry, "scheduler_calls")))) == 3
    (event,) = events(telemetry, "scheduler")
    assert event["message"] == (
        "ExponentialLR sets the learning rate of SGD, called before the optimizer has stepped"
    )
    assert event["payload"] == {
        "optimizer": 0,
        "steps_before": 0,
        "class": "ExponentialLR",
        "gamma": 0.5,
        "base_lrs": [1.0],
    }


def cosine(optimizer: Optimizer) -> LRScheduler:
    return schedulers.CosineAnnealingLR(optimizer, T_max=10, eta_min=0.125)


def milestones(optimizer: Optimizer) -> LRScheduler:
    return schedulers.MultiStepLR(optimizer, [3, 7, 7], gamma=0.5)


def warmup(optimizer: Optimizer) -> LRScheduler:
    first = schedulers.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    return schedulers.SequentialLR(optimizer, [first, cosine(optimizer)], milestones=[2])


def chained(optimizer: Optimizer) -> LRScheduler:
    return schedulers.ChainedScheduler([cosine(optimizer), milestones(optimizer)])


def restarts(optimizer: Optimizer) -> LRScheduler:
    return schedulers.CosineAnnealingWarmRestarts(optimizer, T_0=4, T_mult=2)


COSINE = {"class": "CosineAnnealingLR", "T_max": 10, "eta_min": 0.125, "base_lrs": [1.0]}


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (cosine, COSINE),
        (milestones, {"class": "MultiStepLR", "milestones": [3, 7, 7], "gamma": 0.5}),
        (warmup, {"class": "SequentialLR", "milestones": [2]}),
        (chained, {"class": "ChainedScheduler"}),
        (restarts, {"class": "CosineAnnealingWarmRestarts", "T_0": 4, "T_mult": 2}),
    ],
)
def test_a_scheduler_is_told_with_its_lengths_and_counted_once_a_call(
    loop: Loop, build: Callable[[Optimizer], LRScheduler], settings: Mapping[str, object]
) -> None:
    scheduler = build(loop.optimizer)
    for _ in range(4):
        loop.update()
        scheduler.step()
    telemetry = loop.close()
    assert column(telemetry, "scheduler_calls") == [1, 1, 1, 1]
    (event,) = events(telemetry, "scheduler")
    payload = event["payload"]
    assert isinstance(payload, dict)
    assert payload["steps_before"] == 1
    assert {key: payload[key] for key in settings} == settings
    assert events(telemetry, "hyperparameter") == []
    if build is warmup:
        assert [part["class"] for part in payload["schedulers"]] == [
            "LinearLR",
            "CosineAnnealingLR",
        ]


def test_a_scheduler_of_the_loss_is_counted(loop: Loop) -> None:
    scheduler = schedulers.ReduceLROnPlateau(loop.optimizer, patience=0, factor=0.5)
    for _ in range(3):
        loss = loop.update()
        scheduler.step(1.0)
        loop.telemetry.step(loss=loss)
    telemetry = loop.close()
    assert column(telemetry, "scheduler_calls") == [1, 1, 1]
    assert column(telemetry, "lr") == [1.0, 1.0, 0.5]
    assert events(telemetry, "hyperparameter") == []


def test_what_a_scheduler_watches_is_kept_as_it_was(loop: Loop) -> None:
    first, second = (schedulers.ReduceLROnPlateau(loop.optimizer) for _ in range(2))
    value = torch.tensor(3.0)
    for given in ({"metrics": value}, {}, {"metrics": 2.0}):
        loss = loop.update()
        if given:
            first.step(**given)
        value.zero_()  # the loop goes on with its tensor
        second.step(7.0)
        loop.telemetry.step(loss=loss)
    assert column(loop.close(), "watched_value") == [3.0, None, 2.0]


def test_a_scheduler_with_a_step_of_its_own_is_counted(tmp_path: Path) -> None:
    class Halving(LRScheduler):
        def step(self, epoch: int | None = None) -> None:
            del epoch
            for group in self.optimizer.param_groups:
                group["lr"] /= 2

    loop = Loop(tmp_path)
    scheduler = Halving(loop.optimizer)
    for _ in range(2):
        loop.update()
        scheduler.step()
    telemetry = loop.close()
    assert column(telemetry, "scheduler_calls") == [1, 1]
    assert column(telemetry, "lr") == [0.5, 0.25]


def test_a_scheduler_of_another_optimizer_is_not_counted(loop: Loop) -> None:
    other = schedulers.ExponentialLR(SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0), 0.5)
    loop.update()
    with pytest.warns(UserWarning, match="lr_scheduler.step"):
        other.step()
    telemetry = loop.close()
    assert column(telemetry, "scheduler_calls") == [0]
    assert events(telemetry, "scheduler") == []


def test_results_and_errors_of_schedulers_pass(loop: Loop) -> None:
    def factor(epoch: int) -> float:
        if epoch == 1:
            raise ArithmeticError("no factor")
        return 1.0

    scheduler = schedulers.LambdaLR(loop.optimizer, factor)
    loop.update()
    with pytest.raises(ArithmeticError, match="no factor"):
        scheduler.step()
    telemetry = loop.close()
    assert column(telemetry, "scheduler_calls") == [0]


def test_torchs_methods_are_put_back(tmp_path: Path) -> None:
    def originals() -> list[object]:
        owners = (LRScheduler, schedulers.ReduceLROnPlateau, schedulers.SequentialLR)
        return [*(vars(owner)["step"] for owner in owners), vars(LRScheduler)["_initial_step"]]

    before = originals()
    first, second = Loop(tmp_path), Loop(tmp_path)
    first.close()
    assert not set(originals()) & set(before)
    second.close()
    assert originals() == before


def test_a_rate_that_the_loop_sets_is_told_once(loop: Loop) -> None:
    for step in range(20):
        loop.update()
        loop.optimizer.param_groups[0]["lr"] = 1.0 / (step + 2)
    telemetry = loop.close()
    (event,) = events(telemetry, "hyperparameter")
    assert event["step"] == 1
    assert event["message"] == "lr of SGD was changed by the loop from 1.0 to 0.5 in group 0"
    assert event["payload"] == {
        "optimizer": 0,
        "setting": "lr",
        "after_step": 0,
        "groups": [{"group": 0, "before": 1.0, "after": 0.5}],
    }


def test_each_change_of_other_settings_is_told(tmp_path: Path) -> None:
    loop = Loop(tmp_path, Adam)
    for step in range(8):
        if step == 3:
            loop.optimizer.param_groups[0]["weight_decay"] = 0.1
            loop.optimizer.param_groups[0]["betas"] = (0.5, 0.9)
        if step == 6:
            loop.optimizer.param_groups[0]["weight_decay"] = 0.2
            loop.optimizer.param_groups[0]["eps"] = 1e-3
        loop.update()
    found = [
        (event["step"], event["payload"]["setting"], event["payload"]["groups"][0]["after"])  # type: ignore[index]
        for event in events(loop.close(), "hyperparameter")
    ]
    assert found == [
        (3, "betas", [0.5, 0.9]),
        (3, "weight_decay", 0.1),
        (6, "weight_decay", 0.2),
        (6, "eps", 1e-3),
    ]


def test_a_setting_that_changes_all_the_time_is_told_ever_less_often(tmp_path: Path) -> None:
    loop = Loop(tmp_path, Adam)
    for step in range(100):
        loop.update()
        loop.optimizer.param_groups[0]["weight_decay"] = float(step)
    found = events(loop.close(), "hyperparameter")
    assert [event["step"] for event in found][:-1] == [2, 3, 5, 9, 17, 33, 65]
    spans = [event["payload"]["groups"][0] for event in found]  # type: ignore[index]
    assert [span["before"] for span in spans[1:]] == [span["after"] for span in spans[:-1]]
    assert spans[-1]["after"] == 98.0  # what the last sample saw, told at the end


def test_between_samples_a_change_is_told_at_the_next_one(tmp_path: Path) -> None:
    loop = Loop(tmp_path, every=4)
    for step in range(9):
        if step == 2:
            loop.optimizer.param_groups[0]["momentum"] = 0.5
        loop.update()
    (event,) = events(loop.close(), "hyperparameter")
    assert (event["step"], event["payload"]["after_step"]) == (4, 0)  # type: ignore[index]


def test_momentum_that_a_scheduler_cycles_is_the_schedulers(tmp_path: Path) -> None:
    loop = Loop(tmp_path, Adam)
    scheduler = schedulers.OneCycleLR(loop.optimizer, max_lr=0.1, total_steps=20)
    for _ in range(6):
        loop.update()
        scheduler.step()
    telemetry = loop.close()
    assert events(telemetry, "hyperparameter") == []
    assert events(telemetry, "scheduler")[0]["payload"]["total_steps"] == 20  # type: ignore[index]


def test_a_rate_changed_beside_a_scheduler_is_told(loop: Loop) -> None:
    scheduler = schedulers.StepLR(loop.optimizer, step_size=3)
    for step in range(6):
        loop.update()
        scheduler.step()
        if step == 1:
            loop.optimizer.param_groups[0]["lr"] = 7.0
    (event,) = events(loop.close(), "hyperparameter")
    assert (event["step"], event["payload"]["groups"][0]["after"]) == (2, 7.0)  # type: ignore[index]


def test_a_rate_on_the_device_is_not_read(tmp_path: Path) -> None:
    model = scalar()
    optimizer = Adam(model.parameters(), lr=torch.tensor(0.5), capturable=False, foreach=False)
    with opened(model, optimizer, tmp_path) as telemetry:
        for _ in range(3):
            model(x(1.0)).sum().backward()
            optimizer.step()
            optimizer.param_groups[0]["lr"] = torch.tensor(0.25)
    assert events(telemetry, "hyperparameter") == []
    assert column(telemetry, "lr") == [0.5, 0.25, 0.25]


@pytest.mark.parametrize("rate", [1.0, torch.tensor(1.0), torch.tensor([1.0])])
def test_a_rate_that_is_written_in_place_is_that_of_each_step(
    tmp_path: Path, rate: float | Tensor
) -> None:
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    model = torch.nn.ParameterList(weights)
    rates = [rate, rate.clone() if isinstance(rate, Tensor) else rate]
    optimizer = SGD([{"params": [w], "lr": r} for w, r in zip(weights, rates, strict=True)], lr=1.0)
    scheduler = schedulers.ExponentialLR(optimizer, 0.5)
    with opened(model, optimizer, tmp_path) as telemetry:
        for _ in range(3):
            sum(weights).sum().backward()  # type: ignore[attr-defined]
            optimizer.step()
            scheduler.step()
    assert column(telemetry, "lr") == [1.0, 0.5, 0.25]
    assert telemetry.path is not None
    metrics = records(telemetry.path, "metrics")
    assert [row["value"] for row in metrics if row["name"] == "lr/1"] == [1.0, 0.5, 0.25]
