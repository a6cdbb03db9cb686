"""loss_scaler."""

import json
from collections.abc import Callable, Sequence

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity


def scaled(
    run: Chain,
    losses: Sequence[float],
    *,
    refused: Callable[[int], bool] = lambda step: step < 6,
    scale: Callable[[int], float] = lambda _step: 1024.0,
    early: bool = False,
    clip: float | None = None,
    optimizer: str = "SGD",
) -> Chain:
    payload = json.dumps({"index": 0, "class": optimizer, "groups": [{}]})
    run.add("events", step=0, kind="optimizer", severity="info", payload=payload)
    for step, loss in enumerate(losses):
        flags = 17 | 2 * refused(step) | 4 * early
        run.add(
            "steps", step=step, loss=loss, flags=flags, loss_scale=scale(step),
            clip_coefficient=clip,
        )  # fmt: skip
    return run


def test_a_scaler_that_refuses_the_first_steps_and_one_now_and_then_passes(chain: Chains) -> None:
    run = scaled(chain(2), stalled(2.3, 300), refused=lambda step: step < 20 or step % 50 == 0)
    assert "loss_scaler" in diagnosed(run).passed


@pytest.mark.parametrize(
    ("optimizer", "severity"), [("SGD", Severity.ERROR), ("AdamW", Severity.WARNING)]
)
def test_clipping_before_unscaling_is_found(
    chain: Chains, optimizer: str, severity: Severity
) -> None:
    run = scaled(chain(2), learning(60), early=True, clip=0.001, optimizer=optimizer)
    result = found(diagnosed(run), "loss_scaler")
    assert result.severity is severity
    assert result.value == pytest.approx(1024.0)
    assert "unscale_" in result.advice


@pytest.mark.parametrize(("clip", "scale"), [(1.0, 1024.0), (0.5, 1.0)])
def test_clipping_that_changes_nothing_passes(chain: Chains, clip: float, scale: float) -> None:
    run = scaled(chain(2), learning(60), early=True, clip=clip, scale=lambda _: scale)
    assert "loss_scaler" in diagnosed(run).passed


def test_steps_that_are_refused_at_any_scale_are_an_error(chain: Chains) -> None:
    run = scaled(
        chain(2), stalled(2.3, 60), refused=lambda step: step >= 25,
        scale=lambda step: 2.0 ** (16 - max(0, step - 25)),
    )  # fmt: skip
    result = found(diagnosed(run), "loss_scaler")
    assert (result.severity, result.first_step, result.value) == (Severity.ERROR, 25, 35.0)


def test_a_burst_from_a_huge_scale_at_the_end_of_a_short_run_passes(chain: Chains) -> None:
    run = scaled(
        chain(2), stalled(2.3, 30), refused=lambda _: True, scale=lambda s: 2.0 ** (60 - s)
    )
    assert "loss_scaler" in diagnosed(run).passed


@pytest.mark.parametrize(
    ("losses", "every", "severity"),
    [
        (stalled(2.3, 300), 8, Severity.WARNING),
        (learning(300), 8, Severity.INFO),
        (learning(300), 2, Severity.WARNING),
    ],
)
def test_one_step_in_eight_refused_counts_in_a_run_that_fails(
    chain: Chains, losses: Sequence[float], every: int, severity: Severity
) -> None:
    run = scaled(chain(2), losses, refused=lambda step: step % every == 0)
    assert found(diagnosed(run), "loss_scaler").severity is severity


def test_a_scale_that_fell_below_one_is_told(chain: Chains) -> None:
    run = scaled(
        chain(2), stalled(2.3, 100), refused=lambda step: step < 21,
        scale=lambda step: 2.0 ** (16 - min(21, step)),
    )  # fmt: skip
    result = found(diagnosed(run), "loss_scaler")
    assert (result.severity, result.value) == (Severity.WARNING, 2.0**-5)


def test_a_scaler_for_bfloat16_is_information(chain: Chains) -> None:
    run = scaled(chain(2), learning(60))
    run.activation("l0", "output", 3, dtype="bfloat16")
    assert found(diagnosed(run), "loss_scaler").severity is Severity.INFO


def test_without_a_scaler_it_is_not_checked(chain: Chains) -> None:
    run = chain(2).losses(learning(60))
    assert "GradScaler" in not_checked(diagnosed(run), "loss_scaler").reason


def test_where_a_weight_is_not_finite_that_is_the_root(chain: Chains) -> None:
    run = scaled(
        chain(2), [*learning(30), *[float("nan")] * 40], refused=lambda step: step >= 30,
        scale=lambda step: 2.0 ** (16 - max(0, step - 30)),
    )  # fmt: skip
    run.norm("l0.weight", "weight", 29, 1.0, n=4096, n_nan=5)
    assert found(diagnosed(run), "loss_scaler").consequence_of == "non_finite"
