"""output_logits on synthetic logits."""

from collections.abc import Callable

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Finding, Severity

ID = "output_logits"


def with_logits(
    run: Chain,
    losses: list[float],
    *,
    partition: Callable[[int], float] = lambda _: 2.3,
    absmax: float = 5.0,
    dtype: str = "bfloat16",
    loss_op: str = "cross_entropy",
    steps: range = range(0, 120, 4),
) -> Chain:
    run.losses(losses, every=4)
    for step in steps:
        run.activation(
            "", "logits", step, n_units=10, n_profile=10, loss_op=loss_op, dtype=dtype,
            absmax=absmax, log_partition=partition(step),
            profile=np.full(10, 6.4, dtype=np.float32).tobytes(),
        )  # fmt: skip
    return run


def growing(step: int) -> float:
    """2.3 nats that double every 20 steps: 32 at step 80, 64 at step 96, 143 at the end."""
    return 2.3 * 2 ** (step / 20)


def result_of(run: Chain) -> Finding:
    return found(diagnosed(run), ID)


def test_rounded_and_drifting_matters_in_a_run_that_learns(chain: Chains) -> None:
    """bfloat16 has 7 bits behind the leading one: 64 is rounded by up to 0.25."""
    result = result_of(with_logits(chain(1), learning(120), partition=growing))
    assert result.severity is Severity.WARNING
    assert result.first_step == 96
    assert result.value == pytest.approx(0.25)
    assert "bfloat16" in result.message


@pytest.mark.parametrize(
    ("losses", "severity"), [(learning(120), Severity.INFO), (stalled(2.3, 120), Severity.WARNING)]
)
def test_large_without_drift_depends_on_progress(
    chain: Chains, losses: list[float], severity: Severity
) -> None:
    assert result_of(with_logits(chain(1), losses, absmax=70.0)).severity is severity


def test_drift_alone_matters_where_the_run_stalls(chain: Chains) -> None:
    run = with_logits(chain(1), stalled(2.3, 120), partition=growing, dtype="float32")
    result = result_of(run)
    assert result.severity is Severity.WARNING
    assert result.first_step == 64  # 21 nats
    assert "log-partition" in result.message


@pytest.mark.parametrize(
    ("dtype", "absmax"), [("bfloat16", 60.0), ("float16", 500.0), ("float32", 1e6)]
)
def test_what_the_type_resolves_passes(chain: Chains, dtype: str, absmax: float) -> None:
    run = with_logits(chain(1), stalled(2.3, 120), absmax=absmax, dtype=dtype)
    assert ID in diagnosed(run, detectors=[ID]).passed


def test_a_drift_in_float32_passes_while_the_run_learns(chain: Chains) -> None:
    run = with_logits(chain(1), learning(120), partition=growing, dtype="float32")
    assert ID in diagnosed(run, detectors=[ID]).passed


def test_other_losses_are_not_checked(chain: Chains) -> None:
    run = with_logits(chain(1), stalled(2.3, 120), absmax=1e9, loss_op="mse_loss")
    assert "cross-entropy" in not_checked(diagnosed(run), ID).reason


def test_two_samples_are_too_few(chain: Chains) -> None:
    run = with_logits(chain(1), stalled(2.3, 120), absmax=70.0, steps=range(0, 8, 4))
    assert "2 logit samples" in not_checked(diagnosed(run), ID).reason
