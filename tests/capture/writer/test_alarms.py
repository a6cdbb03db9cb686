import json
import math
from pathlib import Path

import pytest
from recorded import (
    rows_of,
    shard_ranges,
    step_record,
    steps_of,
)
from writer_rig import START_S, Rig

from telemetry.capture.packet import Packet
from telemetry.capture.steps.packet import StepPacket
from telemetry.format.step_flags import StepFlag


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def lossy_steps(steps: range, loss: float | None) -> Packet:
    losses = () if loss is None else (loss,)
    return StepPacket.of([step_record(step=step, losses=losses) for step in steps], [])


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_has_everything_written_at_once(rig: Rig, loss: float) -> None:
    rig.train(range(3))
    rig.queue.put(lossy_steps(range(3, 5), loss))
    rig.queue.mark_step(4)
    rig.loop.turn(START_S + 0.1)
    assert steps_of(rig.run) == list(range(5))
    assert sorted(set(steps_of(rig.run, "tensor_stats"))) == [0, 1, 2]
    (event,) = rows_of(rig.run, "events")
    assert (event["kind"], event["step"]) == ("flush", 3)
    assert event["message"] == (
        f"the loss at step 3 is {loss}: everything recorded so far was written immediately"
    )
    assert json.loads(str(event["payload"])) == {
        "reason": "non_finite_loss",
        "step": 3,
        "loss": str(loss),
    }
    assert rig.loop.alarms.first_bad_loss == 3


def test_a_training_that_goes_on_with_nan_is_written_every_half_minute(rig: Rig) -> None:
    for step in range(700):  # 70 s
        rig.queue.put(lossy_steps(range(step, step + 1), math.nan))
        rig.queue.mark_step(step)
        rig.loop.turn(START_S + 0.1 * step)
    steps = [row["step"] for row in rows_of(rig.run, "events")]
    assert steps == [0, 300, 600]


def test_a_step_without_a_loss_is_no_reason_to_hurry(rig: Rig) -> None:
    rig.queue.put(lossy_steps(range(3), None))
    rig.queue.mark_step(2)
    rig.loop.turn(START_S + 0.1)
    assert shard_ranges(rig.run, "steps") == []


def test_a_norm_that_is_not_finite_is_a_reason_too_unless_a_scaler_refused_the_step(
    rig: Rig,
) -> None:
    refused = step_record(step=0, grad_norm_total=math.inf, flags=int(StepFlag.SKIPPED))
    rig.queue.put(StepPacket.of([refused, step_record(step=1, grad_norm_total=2.0)], []))
    rig.queue.mark_step(1)
    rig.loop.turn(START_S + 0.1)
    assert steps_of(rig.run) == []
    rig.queue.put(StepPacket.of([step_record(step=2, grad_norm_total=math.nan)], []))
    rig.queue.mark_step(2)
    rig.loop.turn(START_S + 0.2)
    assert steps_of(rig.run) == [0, 1, 2]
    (event,) = rows_of(rig.run, "events")
    assert event["message"] == (
        "the gradient norm at step 2 is nan: everything recorded so far was written immediately"
    )
    assert json.loads(str(event["payload"])) == {
        "reason": "non_finite_norm",
        "step": 2,
        "grad_norm_total": "nan",
    }
