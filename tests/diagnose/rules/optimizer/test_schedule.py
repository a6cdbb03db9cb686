"""schedule: courses of the learning rate."""

import json
import math
from collections.abc import Callable, Sequence

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Severity
from telemetry.format.manifest import Status
from telemetry.store.store import Store

ID = "schedule"


def course(
    run: Chain,
    rates: Sequence[float],
    *,
    losses: Sequence[float] | None = None,
    calls: Callable[[int], int] = lambda _: 1,
    per_epoch: int | None = None,
) -> Chain:
    """A run with this learning rate in each step."""
    for step, (rate, loss) in enumerate(zip(rates, losses or learning(len(rates)), strict=True)):
        run.add(
            "steps",
            step=step,
            loss=loss,
            lr=rate,
            flags=1,
            samples=64,
            scheduler_calls=calls(step),
            epoch=None if per_epoch is None else step // per_epoch,
        )
    return run


def cosine(step: int, length: int) -> float:
    return 0.05 * (1 + math.cos(math.pi * min(step, length) / length))


def test_a_cosine_to_the_end_passes(chain: Chains) -> None:
    run = course(chain(1), [cosine(step, 200) for step in range(200)])
    assert ID in diagnosed(run).passed


def test_a_rate_of_zero_before_the_end_is_found(chain: Chains) -> None:
    result = found(diagnosed(course(chain(1), [cosine(s, 160) for s in range(200)])), ID)
    assert (result.severity, result.first_step) == (Severity.WARNING, 160)
    assert result.value == 0.2
    result = found(diagnosed(course(chain(1), [cosine(s, 20) for s in range(200)])), ID)
    assert (result.severity, result.first_step) == (Severity.ERROR, 20)


@pytest.mark.parametrize(
    ("n", "n_calls", "status", "severity"),
    [
        (150, 1, Status.RUNNING, Severity.WARNING),  # a warm-up may still be to come
        (320, 1, Status.RUNNING, Severity.ERROR),
        (150, 0, Status.RUNNING, Severity.ERROR),
        (150, 1, Status.FINISHED, Severity.ERROR),
    ],
)
def test_a_run_without_any_rate_is_found(
    chain: Chains, n: int, n_calls: int, status: Status, severity: Severity
) -> None:
    run = course(chain(1), [0.0] * n, losses=stalled(2.3, n), calls=lambda _: n_calls)
    result = diagnosed(run, status=status)
    assert (found(result, ID).severity, found(result, ID).first_step) == (severity, 0)
    assert f"zero in all {n} steps" in found(result, ID).message
    assert found(result, "loss_not_decreasing").consequence_of == ID


def test_no_rate_is_no_fault_where_another_group_or_the_loss_moves(chain: Chains) -> None:
    run = course(chain(1), [0.0] * 150, losses=stalled(2.3, 150))
    run.metric("lr/1", {0: 0.01}, phase="train")
    assert ID in diagnosed(run).passed
    assert ID in diagnosed(course(chain(1), [0.0] * 150)).passed


def test_another_group_that_trains_on_is_no_end(chain: Chains) -> None:
    run = course(chain(1), [cosine(step, 100) for step in range(200)])
    run.metric("lr/1", {0: 0.01}, phase="train")
    assert ID in diagnosed(run).passed


def test_a_rate_divided_in_every_step_is_found(chain: Chains) -> None:
    rates = [0.1 * 0.93**step for step in range(200)]
    result = found(diagnosed(course(chain(1), rates, losses=stalled(2.3, 200))), ID)
    assert (result.severity, result.first_step) == (Severity.WARNING, 96)
    run = course(chain(1), rates, losses=learning(200, end=0.01))
    assert found(diagnosed(run), ID).severity is Severity.INFO


DECAYS = {
    "root": lambda step: (1 + step) ** -0.5,
    "three_quarters": lambda step: (1 + step) ** -0.75,
    "inverse": lambda step: 1 / (1 + step),
    "line": lambda step: 1 - step / 1000,
    "to_a_hundredth": lambda step: 0.01 ** (step / 1000),
    "warmed_up": lambda step: step / 20 if step < 20 else 0.01 ** ((step - 20) / 980),
}


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("stalls", [True, False])
def test_a_rate_of_which_half_is_spent_at_once(chain: Chains, name: str, *, stalls: bool) -> None:
    losses = stalled(2.3, 1000) if stalls else learning(1000, end=1.0)
    run = course(chain(1), [0.1 * DECAYS[name](step) for step in range(1000)], losses=losses)
    told = [f.severity for f in diagnosed(run, detectors=[ID]).findings]
    expected = {
        "three_quarters": [Severity.WARNING if stalls else Severity.INFO],
        "inverse": [Severity.WARNING],
    }
    assert told == expected.get(name, [])


def test_a_plateau_scheduler_may_divide_as_often_as_it_likes(chain: Chains) -> None:
    run = course(chain(1), [0.1 * 0.93**step for step in range(200)], losses=stalled(2.3, 200))
    run.event("scheduler", **{"class": "ReduceLROnPlateau", "steps_before": 1})
    assert ID in diagnosed(run).passed


def test_a_jump_that_the_loss_follows_is_found(chain: Chains) -> None:
    rates = [1e-3] * 100 + [0.3] * 100
    losses = [*learning(100), *stalled(2.5, 100)]
    result = found(diagnosed(course(chain(1), rates, losses=losses)), ID)
    assert (result.severity, result.first_step) == (Severity.WARNING, 100)
    assert ID in diagnosed(course(chain(1), rates)).passed


@pytest.mark.parametrize(("later", "is_found"), [(1.75, True), (1.4, False)])
def test_a_jump_after_which_half_of_the_fall_is_lost_is_found(
    chain: Chains, later: float, *, is_found: bool
) -> None:
    """The loss has come down from 2.3 to 1.15, and does not double."""
    losses = [*learning(80, start=2.3, end=1.15), *[1.15] * 20, *[later] * 20]
    losses += learning(80, start=later, end=1.0)
    diagnosis = diagnosed(course(chain(1), [1e-3] * 100 + [0.1] * 100, losses=losses))
    assert (ID in {f.detector for f in diagnosis.findings}) is is_found


def test_warm_restarts_pass(chain: Chains) -> None:
    rates = [cosine(step % 50, 50) + 1e-4 for step in range(200)]
    losses = [*learning(50), *([2.0] * 5), *learning(145)]
    assert ID in diagnosed(course(chain(1), rates, losses=losses)).passed


def test_a_warm_up_in_stairs_passes(chain: Chains) -> None:
    rates = [10.0 ** (step // 50 - 4) for step in range(200)]
    assert ID in diagnosed(course(chain(1), rates)).passed


def test_a_schedule_forgotten_on_resume_is_found(chain: Chains) -> None:
    run = course(chain(1), [cosine(s if s < 150 else 0, 200) for s in range(200)])
    assert ID in diagnosed(run).passed
    run = course(chain(1), [cosine(s if s < 150 else 0, 200) for s in range(200)])
    for row in run.rows["steps"][150:]:
        row["attempt"] = 2
    run.write()
    manifest = run.path / "run.json"
    content = json.loads(manifest.read_text())
    (attempt,) = content["attempts"]
    content["attempts"] = [
        {**attempt, "last_step": 149},
        {**attempt, "attempt": 2, "start_step": 150},
    ]
    manifest.write_text(json.dumps(content))
    store = Store.open(run.store)
    result = found(diagnose_run(store, store.select(run.run)), ID)
    assert "after the resume at step 150" in result.message


def test_a_cosine_of_epochs_in_every_step_is_found(chain: Chains) -> None:
    settings = {"class": "CosineAnnealingLR", "T_max": 4, "steps_before": 1}
    rates = [0.05 * (1 + math.cos(math.pi * step / 4)) for step in range(199)]
    run = course(chain(1), rates, per_epoch=50).event("scheduler", **settings)
    assert "T_max=4 is called in every step" in found(diagnosed(run), ID).message


def test_a_plan_of_steps_called_once_an_epoch_is_found(chain: Chains) -> None:
    settings = {"class": "CosineAnnealingLR", "T_max": 200, "steps_before": 50}
    rates = [cosine(step // 50, 200) for step in range(200)]
    run = course(chain(1), rates, per_epoch=50, calls=lambda step: int(step % 50 == 49))
    result = found(diagnosed(run.event("scheduler", **settings)), ID)
    assert "is called once per epoch: 4 times" in result.message


def test_a_run_cut_short_passes(chain: Chains) -> None:
    settings = {"class": "CosineAnnealingLR", "T_max": 100, "steps_before": 50}
    rates = [cosine(step // 50, 100) for step in range(200)]
    run = course(chain(1), rates, per_epoch=50, calls=lambda step: int(step % 50 == 49))
    assert ID in diagnosed(run.event("scheduler", **settings)).passed


def test_a_scheduler_before_the_optimizer_is_information(chain: Chains) -> None:
    run = course(chain(1), [0.1] * 100)
    run.event("scheduler", **{"class": "StepLR", "step_size": 30, "steps_before": 0})
    assert found(diagnosed(run), ID).severity is Severity.INFO


def test_too_few_steps_are_not_judged(chain: Chains) -> None:
    assert "10 steps" in not_checked(diagnosed(course(chain(1), [0.1] * 10)), ID).reason


def test_a_rate_that_falls_to_nothing_in_one_step_is_found(chain: Chains) -> None:
    rates = [0.1] * 140 + [1e-5] * 60
    losses = learning(200, start=2.3, end=1.0)
    result = found(diagnosed(course(chain(1), rates, losses=losses)), ID)
    assert (result.severity, result.first_step) == (Severity.WARNING, 140)


@pytest.mark.parametrize(("rate", "expected"), [(2e-7, Severity.WARNING), (1e-5, Severity.INFO)])
def test_a_rate_that_falls_to_less_than_any_stage_is_told_however_low_the_loss(
    chain: Chains, rate: float, expected: Severity
) -> None:
    run = course(chain(1), [0.1] * 140 + [rate] * 60, losses=learning(200))
    assert found(diagnosed(run), ID).severity is expected


def test_a_rate_that_comes_down_in_stairs_passes(chain: Chains) -> None:
    rates = [0.1 * 0.01 ** (step // 50) for step in range(200)]
    assert ID in diagnosed(course(chain(1), rates, losses=learning(200, end=1.0))).passed


def rising(n: int, *, losses: Sequence[float], power: float = 1.0) -> Callable[[Chain], Chain]:
    return lambda run: course(run, [1e-3 * ((s + 1) / n) ** power for s in range(n)], losses=losses)


def slow(n: int, end: float) -> list[float]:
    """A loss whose fall becomes faster, with some noise."""
    return [2.3 - (2.3 - end) * (s / n) ** 2 + 0.01 * math.sin(7 * s) for s in range(n)]


def test_a_warm_up_that_a_finished_run_never_left_is_found(chain: Chains) -> None:
    result = found(diagnosed(rising(300, losses=slow(300, 2.0))(chain(1))), ID)
    assert result.severity is Severity.WARNING
    assert "still warming up at the last of 300 steps" in result.message


def test_a_warm_up_of_a_run_that_has_come_far_or_a_range_test_passes(chain: Chains) -> None:
    assert ID in diagnosed(rising(300, losses=slow(300, 1.0))(chain(1))).passed
    assert ID in diagnosed(rising(300, losses=slow(300, 2.0), power=6.0)(chain(1))).passed
    assert ID in diagnosed(rising(60, losses=slow(60, 2.0))(chain(1))).passed


def test_a_warm_up_of_a_run_that_has_not_ended_is_none_too_long(chain: Chains) -> None:
    run = rising(300, losses=slow(300, 2.0))(chain(1))
    run.write(status=Status.RUNNING)
    store = Store.open(run.store)
    assert ID in diagnose_run(store, store.runs()[0], detectors=[ID]).passed


def watched(run: Chain, values: Sequence[float], *, mode: str, name: str = "val_loss") -> Chain:
    """A run of ten steps a value, which ReduceLROnPlateau is given without any patience."""
    losses = learning(10 * len(values))
    for step, loss in enumerate(losses):
        value = values[step // 10] if step % 10 == 9 else None
        run.add("steps", step=step, loss=loss, lr=0.1, flags=1, samples=64, watched_value=value)
    run.metric(name, {10 * place + 8: value for place, value in enumerate(values)})
    run.event("scheduler", **{"class": "ReduceLROnPlateau", "mode": mode, "patience": 0})
    return run


FALLS = [2.0 * 0.7**place for place in range(8)]
RISES = [0.2 + 0.1 * place for place in range(8)]


@pytest.mark.parametrize(
    ("values", "mode", "name"),
    [(FALLS, "max", "val_loss"), (RISES, "min", "val_accuracy"), (FALLS, "max", "val_error")],
)
def test_a_plateau_scheduler_that_cuts_because_of_improvement_is_found(
    chain: Chains, values: list[float], mode: str, name: str
) -> None:
    result = found(diagnosed(watched(chain(1), values, mode=mode, name=name)), ID)
    right = "min" if mode == "max" else "max"
    assert (result.severity, result.first_step) == (Severity.WARNING, 19)
    assert f"watches {name} in mode {mode}: it cut the learning rate 7 times" in result.message
    assert f"mode {right} would have cut it 0 times" in result.message
    assert result.advice.startswith(f"Pass mode='{right}'")


@pytest.mark.parametrize(
    ("values", "mode", "name"),
    [
        (FALLS, "min", "val_loss"),
        (RISES, "max", "val_accuracy"),
        (RISES, "min", "val_loss"),  # validation becomes worse
        ([1.0] * 8, "max", "val_loss"),  # nothing moves in either mode
        (FALLS, "max", "val_something"),  # whose name does not say which way is better
        (FALLS[:2], "max", "val_loss"),  # two calls
    ],
)
def test_a_plateau_scheduler_that_cuts_for_another_reason_passes(
    chain: Chains, values: list[float], mode: str, name: str
) -> None:
    assert ID in diagnosed(watched(chain(1), values, mode=mode, name=name)).passed
