"""loss_plateau, gradient_oscillation, gradient_noise_scale."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import (
    WIDTH,
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

PLATEAU = "loss_plateau"
OSCILLATION = "gradient_oscillation"
NOISE = "gradient_noise_scale"
N = WIDTH**2


def plateau(*, fall: int, flat: int, level: float = 1.0, noise: float = 0.03) -> list[float]:
    """A loss that falls from 2.3 to a level and stays there."""
    return [*np.geomspace(2.3, level, fall), *stalled(level, flat, noise=noise)]


def test_a_loss_flat_for_most_of_the_run_is_told_with_its_rate(chain: Chains) -> None:
    run = chain(2).losses(plateau(fall=150, flat=450), lr=0.02)
    result = found(diagnosed(run), PLATEAU)
    assert result.severity is Severity.INFO
    assert result.first_step is not None
    assert 100 <= result.first_step <= 210
    assert result.last_step == 599
    assert f"since step {result.first_step}" in result.message
    assert "(0.02) by 10" in result.advice


@pytest.mark.parametrize(
    "losses",
    [
        plateau(fall=400, flat=200),  # shorter than half of the run
        plateau(fall=60, flat=120),  # fewer than 200 steps
        plateau(fall=150, flat=450, level=0.02),  # nothing is left to learn
    ],
    ids=["late", "short", "near zero"],
)
def test_other_plateaus_are_told_where_asked_for(chain: Chains, losses: list[float]) -> None:
    run = chain(2).losses(losses)
    assert PLATEAU in diagnosed(run).passed
    assert asked(run, PLATEAU).severity is Severity.INFO


def test_a_plateau_at_the_end_of_a_schedule_is_its_end(chain: Chains) -> None:
    run = chain(2).losses(plateau(fall=150, flat=450))
    for step, row in enumerate(run.rows["steps"]):
        row["lr"] = 0.1 * (1 + np.cos(np.pi * step / 600)) / 2
    assert PLATEAU in diagnosed(run).passed
    assert "stop here" in asked(run, PLATEAU).advice


def test_validation_that_improves_keeps_a_plateau_quiet(chain: Chains) -> None:
    steps = range(0, 600, 30)
    run = chain(2).losses(plateau(fall=150, flat=450))
    run.metric("val_accuracy", {step: 0.1 + step / 700 for step in steps})
    assert PLATEAU in diagnosed(run).passed
    assert "validation still improves" in asked(run, PLATEAU).advice
    still = chain(2).losses(plateau(fall=150, flat=450))
    still.metric("val_accuracy", {step: 0.6 + 0.01 * (step % 7) for step in steps})
    assert found(diagnosed(still), PLATEAU)


def test_a_falling_a_noisy_and_a_stalled_loss_are_no_plateau(chain: Chains) -> None:
    for losses in (
        list(np.linspace(2.3, 1.2, 600)),
        plateau(fall=150, flat=450, noise=0.2),  # a fall might hide in it
        stalled(2.3, 600),  # loss_not_decreasing
    ):
        alone = diagnosed(chain(2).losses(losses), detectors=[PLATEAU])
        assert alone.passed == (PLATEAU,)


def test_a_loss_that_does_not_measure_progress_is_not_checked(chain: Chains) -> None:
    signed = chain(2).losses(list(np.linspace(1.0, -5.0, 600)))
    assert "negative values" in not_checked(diagnosed(signed), PLATEAU).reason


def cosines(
    run: Chain, values: Sequence[float], *, first: int = 0, every: int = 1, update: float = 0.0
) -> Chain:
    """Cosines with the sample before, of gradients and updates of two layers."""
    for index, value in enumerate(values):
        step = first + index * every
        run.rows["steps"][step]["flags"] = 17
        for layer in range(2):
            name = f"l{layer}.weight"
            run.norm(name, "gradient", step, 1.0, n=N, cos_prev=value - 0.01 * layer)
            run.norm(name, "update", step, 0.01, n=N, cos_prev=update)
    return run


def test_opposed_gradients_of_a_run_that_stands_still_are_told(chain: Chains) -> None:
    run = cosines(chain(2).losses(stalled(2.0, 100), every=1000), [-0.8] * 100)
    result = found(diagnosed(run), OSCILLATION)
    assert result.severity is Severity.INFO
    assert result.value == pytest.approx(-0.805, abs=1e-3)
    assert result.layer == "l1"
    assert (result.first_step, result.last_step) == (50, 99)
    assert "by 4" in result.advice


@pytest.mark.parametrize(
    ("losses", "value", "first"),
    [
        (learning(100), -0.8, 0),  # it learns
        (stalled(2.0, 100), -0.4, 0),  # noise, and steps short of the minimum
        (stalled(2.0, 200), -0.8, 0),  # seen in the first half only
    ],
    ids=["learning", "weak", "early"],
)
def test_other_cosines_are_told_where_asked_for(
    chain: Chains, losses: list[float], value: float, first: int
) -> None:
    run = cosines(chain(2).losses(losses, every=1000), [value] * 80, first=first)
    assert OSCILLATION in diagnosed(run).passed
    assert asked(run, OSCILLATION).value == pytest.approx(value - 0.005, abs=1e-3)


def test_samples_of_steps_apart_do_not_oscillate(chain: Chains) -> None:
    run = cosines(chain(2).losses(stalled(2.0, 200), every=1000), [-0.8] * 60, every=3)
    entry = not_checked(diagnosed(run), OSCILLATION)
    assert entry.absent
    assert "0 samples of consecutive steps" in entry.reason


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
    result = found(diagnosed(run), NOISE)
    assert result.severity is Severity.INFO
    assert result.value == pytest.approx(10.0, rel=0.1)
    assert result.threshold == 128
    # (1 + 10 / 16) / (1 + 10 / 128) times the steps
    assert "1 of the 8 micro-batches: about 1.5 times as many steps, each of 12%" in result.advice


def test_the_noise_scale_needs_neither_the_divisor_nor_the_loss_scale(chain: Chains) -> None:
    divided = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=30.0)
    scaled = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=30.0, loss_scale=1024.0)
    summed = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=30.0)
    for row in scaled.rows["steps"]:
        row["micro_grad_sumsq"] *= 1024.0**2
    for row in summed.rows["steps"]:
        row["micro_grad_sumsq"] *= 8**2
        row["grad_norm_total"] *= 8
    values = [asked(run, NOISE).value for run in (divided, scaled, summed)]
    assert values == pytest.approx([values[0]] * 3)
    assert values[0] == pytest.approx(30.0, rel=0.1)


def test_noise_far_above_the_signal_counts_where_the_loss_stands_still(chain: Chains) -> None:
    noise = 128 * 20.0
    learns = accumulated(chain(2).losses(learning(60)), signal=100.0, noise=100 * noise)
    assert NOISE in diagnosed(learns).passed
    assert asked(learns, NOISE).value == pytest.approx(noise, rel=0.5)
    stands = accumulated(chain(2).losses(stalled(2.3, 60)), signal=100.0, noise=100 * noise)
    assert "smaller learning rate" in found(diagnosed(stands), NOISE).advice


def test_a_gradient_within_its_noise_has_no_scale(chain: Chains) -> None:
    run = accumulated(chain(2).losses(learning(60)), signal=0.0, noise=100.0)
    assert "beyond measure" in not_checked(diagnosed(run), NOISE).reason


def test_few_samples_and_plain_loops_have_no_noise_scale(chain: Chains) -> None:
    few = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=10.0, n=40)
    assert "40 samples" in not_checked(diagnosed(few), NOISE).reason
    assert not_checked(diagnosed(chain(2).losses(learning(60))), NOISE).absent


def test_the_batch_of_ranks_is_that_of_all(chain: Chains) -> None:
    """Gradients reduced over two ranks are equal on both: 8 x 16 examples of each."""
    run = accumulated(chain(2).losses(learning(60)), signal=1.0, noise=10.0)
    run.write()
    twin = chain(0)
    twin.run, twin.rank, twin.rows = run.run, 1, {"steps": run.rows["steps"]}
    twin.write()
    run.rows = {}
    result = asked(run, NOISE)
    assert result.threshold == 256
    # The squares were made for 16 and 128 examples and are those of 32 and 256.
    assert result.value == pytest.approx(20.0, rel=0.1)


def test_a_run_without_a_learning_rate_is_told_what_to_look_at(chain: Chains) -> None:
    still = chain(2).losses(plateau(fall=150, flat=450))
    turned = cosines(chain(2).losses(stalled(2.0, 100), every=1000), [-0.8] * 100)
    for one in (still, turned):
        for row in one.rows["steps"]:
            row["lr"] = None
    assert "the learning rate by 10" in found(diagnosed(still), PLATEAU).advice
    assert "the learning rate by 4" in found(diagnosed(turned), OSCILLATION).advice
