"""loss_multiplier."""

import json
from collections.abc import Sequence

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity


def accumulated(
    run: Chain,
    losses: Sequence[float],
    *,
    k: int = 4,
    multiple: float,
    factor: float | None,
    growth: float = 12.0,
    optimizer: str = "SGD",
    **extra: object,
) -> Chain:
    payload = json.dumps({"index": 0, "class": optimizer, "groups": [{}]})
    run.add("events", step=0, kind="optimizer", severity="info", payload=payload)
    for step, loss in enumerate(losses):
        row: dict[str, object] = {
            "loss": loss, "root_sum": multiple * loss, "accumulation": k, "backward_calls": k,
            "flags": 17, "root_factor_sum": factor, "grad_norm_total": growth**0.5,
            "micro_grad_sumsq": 1.0,
        }  # fmt: skip
        run.add("steps", step=step, **{**row, **extra})
    return run


def test_losses_that_are_not_divided_are_a_warning_in_a_run_that_fails(chain: Chains) -> None:
    run = accumulated(chain(2), stalled(2.3, 60), multiple=4.0, factor=4.0)
    result = found(diagnosed(run), "loss_multiplier")
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(4.0)
    assert "the 4 losses of a step are not divided" in result.message


def test_losses_that_are_divided_twice_are_found(chain: Chains) -> None:
    run = accumulated(chain(2), stalled(2.3, 60), multiple=0.25, factor=0.25)
    assert "by 4 twice" in found(diagnosed(run), "loss_multiplier").message


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_loss_that_is_divided_twice_warns_whether_the_run_learns_or_not(
    chain: Chains, optimizer: str
) -> None:
    run = accumulated(chain(2), learning(60), multiple=0.25, factor=0.25, optimizer=optimizer)
    assert found(diagnosed(run), "loss_multiplier").severity is Severity.WARNING


@pytest.mark.parametrize(
    ("optimizer", "extra"), [("AdamW", {}), ("SGD", {"clip_coefficient": 0.01})]
)
def test_where_the_size_does_not_count_it_is_information(
    chain: Chains, optimizer: str, extra: dict[str, object]
) -> None:
    run = accumulated(
        chain(2), stalled(2.3, 60), multiple=4.0, factor=4.0, optimizer=optimizer, **extra
    )
    assert found(diagnosed(run), "loss_multiplier").severity is Severity.INFO


def test_a_run_that_learns_chose_its_rate_with_it(chain: Chains) -> None:
    run = accumulated(chain(2), learning(60), multiple=4.0, factor=4.0)
    assert found(diagnosed(run), "loss_multiplier").severity is Severity.INFO


@pytest.mark.parametrize(
    ("multiple", "factor", "growth"),
    [
        (1.0, 1.0, 12.0),  # divided, and reported before it
        (4.0, 1.0, 12.0),  # divided, and reported after it
        (4.0, 0.02, 12.0),  # sums over a number of tokens
        (1.0, 4.0, 12.0),  # a sum, reported as a sum
        (0.25, 1.0, 12.0),  # divided, and the sum of the losses is reported
        (4.0, 4.0, 1.2),  # passes that do not add up
        (4.0, float("nan"), 12.0),  # a constant that cannot be read
    ],
)
def test_other_ways_to_accumulate_pass(
    chain: Chains, multiple: float, factor: float, growth: float
) -> None:
    losses = stalled(2.3, 60)
    run = accumulated(chain(2), losses, multiple=multiple, factor=factor, growth=growth)
    assert "loss_multiplier" in diagnosed(run).passed


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"flags": 16}, "telemetry.step(loss=loss)"),
        ({"root_factor_sum": None}, "no sampled step"),
        ({"backward_calls": 5}, "no sampled step"),
        ({"optimizer": "SAM"}, "SAM evaluates each batch several times"),
    ],
)
def test_what_is_not_known_is_not_checked(
    chain: Chains, extra: dict[str, object], reason: str
) -> None:
    row = {"multiple": 4.0, "factor": 4.0, **extra}
    run = accumulated(chain(2), stalled(2.3, 60), **row)  # type: ignore[arg-type]
    assert reason in not_checked(diagnosed(run), "loss_multiplier").reason
