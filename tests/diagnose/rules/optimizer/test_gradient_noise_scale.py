"""gradient_noise_scale."""

import numpy as np
import pytest
from judged_runs import (
    Chain,
    Chains,
    asked,
    diagnosed,
    found,
    learning,
    not_checked,
    stalled,
)

from telemetry.diagnose.finding import Severity

ID = "gradient_noise_scale"


def accumulated(
    run: Chain,
    *,
    signal: float,
    noise: float,
    n: int = 60,
    k: int = 8,
    size: int = 16,
    **extra: object,
) -> Chain:
    """Squared norms of steps over k micro-batches of a true gradient and independent noise.

    The loss is divided by k, as it should be; expectations, with a little scatter.
    """
    random = np.random.default_rng(0)
    for step in range(n):
        scatter = 1 + 0.02 * random.standard_normal(2)
        micro = (signal + noise / size) * scatter[0] / k**2
        whole = (signal + noise / (k * size)) * scatter[1]
        row = run.rows["steps"][step]
        row.update(
            samples=k * size, accumulation=k, backward_calls=k, flags=17,
            micro_grad_sumsq=micro, grad_norm_total=whole**0.5, **extra,
        )  # fmt: skip
    return run


def test_a_batch_far_above_the_noise_scale_is_told(chain: Chains) -> None:
    run = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=10.0)
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.INFO
    assert result.value == pytest.approx(10.0, rel=0.1)
    assert result.threshold == 128
    # (1 + 10 / 16) / (1 + 10 / 128) times the steps
    assert (
        "1 instead of 8 micro-batches: this takes about 1.5 times as many steps, each with 12%"
        in result.advice
    )


def test_the_noise_scale_needs_neither_the_divisor_nor_the_loss_scale(chain: Chains) -> None:
    divided = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=30.0)
    scaled = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=30.0, loss_scale=1024.0)
    summed = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=30.0)
    for row in scaled.rows["steps"]:
        row["micro_grad_sumsq"] *= 1024.0**2
    for row in summed.rows["steps"]:
        row["micro_grad_sumsq"] *= 8**2
        row["grad_norm_total"] *= 8
    values = [asked(run, ID).value for run in (divided, scaled, summed)]
    assert values == pytest.approx([values[0]] * 3)
    assert values[0] == pytest.approx(30.0, rel=0.1)


def test_noise_far_above_the_signal_counts_where_the_loss_stands_still(chain: Chains) -> None:
    noise = 128 * 20.0
    learns = accumulated(chain(2).losses(learning(60)), signal=100.0, noise=100 * noise)
    assert ID in diagnosed(learns).passed
    assert asked(learns, ID).value == pytest.approx(noise, rel=0.5)
    stands = accumulated(chain(2).losses(stalled(2.3, 60)), signal=100.0, noise=100 * noise)
    assert "smaller learning rate" in found(diagnosed(stands), ID).advice


def test_a_gradient_within_its_noise_has_no_scale(chain: Chains) -> None:
    run = accumulated(chain(2).losses(learning(60)), signal=0.0, noise=100.0)
    assert "too large to measure" in not_checked(diagnosed(run), ID).reason


def test_few_samples_and_plain_loops_have_no_noise_scale(chain: Chains) -> None:
    few = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=10.0, n=40)
    assert "40 sampled steps" in not_checked(diagnosed(few), ID).reason
    assert not_checked(diagnosed(chain(2).losses(learning(60))), ID).absent


def test_the_batch_of_ranks_is_that_of_all(chain: Chains) -> None:
    """Gradients reduced over two ranks are equal on both: 8 x 16 examples of each."""
    run = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=10.0)
    run.write()
    twin = chain(0)
    twin.run, twin.rank, twin.rows = run.run, 1, {"steps": run.rows["steps"]}
    twin.write()
    run.rows = {}
    result = asked(run, ID)
    assert result.threshold == 256
    # The squares were made for 16 and 128 examples and are those of 32 and 256.
    assert result.value == pytest.approx(20.0, rel=0.1)
