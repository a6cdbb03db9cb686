"""input_stall."""

from collections.abc import Callable

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked

from telemetry.diagnose.finding import Severity

ID = "input_stall"


def waiting(
    run: Chain, data_s: Callable[[int], float | None], *, step_s: float = 0.1, device: str = "cpu"
) -> Chain:
    """300 steps that wait so long for their batch."""
    for step, loss in enumerate(learning(300)):
        run.add(
            "steps", step=step, loss=loss, lr=0.1, flags=1, samples=64, step_s=step_s,
            data_s=data_s(step),
        )  # fmt: skip
    return run.event("attach", devices=[device])


def test_waiting_most_of_the_time_is_found(chain: Chains) -> None:
    result = found(diagnosed(waiting(chain(1), lambda _: 0.075)), ID)
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(0.75)
    assert "4.0 times as fast" in result.message


@pytest.mark.parametrize(
    ("share", "severity"), [(0.2, None), (0.4, Severity.INFO), (0.6, Severity.WARNING)]
)
def test_the_limits_lie_between(chain: Chains, share: float, severity: Severity | None) -> None:
    diagnosis = diagnosed(waiting(chain(1), lambda _: 0.1 * share))
    if severity is None:
        assert ID in diagnosis.passed
    else:
        assert found(diagnosis, ID).severity is severity


def test_bursts_of_several_workers_count_on_average(chain: Chains) -> None:
    run = waiting(chain(1), lambda step: 0.28 if step % 4 == 0 else 0.0)
    assert found(diagnosed(run), ID).severity is Severity.WARNING


def test_a_slow_first_epoch_passes(chain: Chains) -> None:
    run = waiting(chain(1), lambda step: 0.09 if step < 100 else 0.01)
    assert ID in diagnosed(run).passed


def test_fast_loops_pass(chain: Chains) -> None:
    run = waiting(chain(1), lambda _: 0.0008, step_s=0.001)
    assert ID in diagnosed(run).passed


def test_an_accelerator_works_meanwhile(chain: Chains) -> None:
    run = waiting(chain(1), lambda _: 0.06, device="cuda:0")
    assert found(diagnosed(run), ID).severity is Severity.INFO
    run = waiting(chain(1), lambda _: 0.09, device="cuda:0")
    assert found(diagnosed(run), ID).severity is Severity.WARNING


def test_loops_without_a_loader_are_not_judged(chain: Chains) -> None:
    run = waiting(chain(1), lambda _: None)
    assert "DataLoader" in not_checked(diagnosed(run), ID).reason
