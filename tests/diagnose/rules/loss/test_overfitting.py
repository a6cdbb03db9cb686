"""overfitting on synthetic curves."""

from collections.abc import Sequence

import numpy as np
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity


def evaluated(
    run: Chain,
    losses: Sequence[float],
    accuracies: Sequence[float] | None = None,
    *,
    name: str = "val_loss",
) -> Chain:
    run.metric(name, {10 * i: v for i, v in enumerate(losses)})
    if accuracies is not None:
        run.metric("val_accuracy", {10 * i: v for i, v in enumerate(accuracies)})
    return run


RISING = [1.0, 0.6, 0.5, 0.5, 0.55, 0.62, 0.7, 0.8, 0.9, 1.0]
FALLING_ACCURACY = [0.5, 0.7, 0.8, 0.8, 0.79, 0.77, 0.75, 0.73, 0.72, 0.71]
CONSTANT_ACCURACY = [0.5, 0.7, 0.8, 0.8, 0.8, 0.8, 0.81, 0.8, 0.8, 0.8]


def test_both_loss_and_metric_worse_warn(chain: Chains) -> None:
    run = evaluated(chain(2).losses(learning(100)), RISING, FALLING_ACCURACY)
    result = found(diagnosed(run), "overfitting")
    assert result.severity is Severity.WARNING
    assert result.first_step in {20, 30}
    assert "val_accuracy from 0.8 to 0.72" in result.message


def test_confidence_alone_is_information(chain: Chains) -> None:
    run = evaluated(chain(2).losses(learning(100)), RISING, CONSTANT_ACCURACY)
    assert found(diagnosed(run), "overfitting").severity is Severity.INFO


def test_confidence_that_costs_more_than_guessing_warns(chain: Chains) -> None:
    run = chain(2).losses(learning(100, start=0.7), every=10)
    run.logits(0, classes=2).logits(10, classes=2)
    assert (
        found(diagnosed(evaluated(run, RISING, CONSTANT_ACCURACY)), "overfitting").severity
        is Severity.WARNING
    )


def test_a_loss_alone_must_rise_by_half_or_by_a_level(chain: Chains) -> None:
    run = evaluated(chain(2).losses(learning(100)), RISING)
    assert found(diagnosed(run), "overfitting").severity is Severity.WARNING
    little = [1.0, 0.6, 0.5, 0.5, 0.52, 0.54, 0.57, 0.6, 0.62, 0.63]
    run = evaluated(chain(2).losses(learning(100)), little)
    assert found(diagnosed(run), "overfitting").severity is Severity.INFO


def test_a_metric_alone_that_falls_warns(chain: Chains) -> None:
    run = chain(2).losses(learning(100))
    run.metric("val_accuracy", {10 * i: v for i, v in enumerate(FALLING_ACCURACY)})
    assert found(diagnosed(run), "overfitting").severity is Severity.WARNING


def test_perplexity_is_the_loss_it_is_made_of(chain: Chains) -> None:
    small = [float(np.exp(v)) for v in [3.5, 3.2, 3.0, 3.0, 3.02, 3.05, 3.1, 3.1, 3.12, 3.15]]
    run = evaluated(chain(2).losses(learning(100)), small, name="val_ppl")
    assert "overfitting" in diagnosed(run).passed


def test_noise_of_an_evaluation_is_no_fall(chain: Chains) -> None:
    rng = np.random.default_rng(0)
    accuracies = 0.9 + 0.02 * rng.standard_normal(20)
    run = (
        chain(2)
        .losses(learning(200))
        .metric("val_accuracy", {10 * i: float(v) for i, v in enumerate(accuracies)})
    )
    assert "overfitting" in diagnosed(run).passed


def test_training_that_does_not_improve_is_not_overfitting(chain: Chains) -> None:
    run = evaluated(chain(2).losses(list(np.linspace(1.0, 2.0, 100))), RISING, FALLING_ACCURACY)
    assert "overfitting" in diagnosed(run).passed


def test_a_run_that_does_not_learn_does_not_overfit(chain: Chains) -> None:
    """Its accuracy wanders about chance, from a first value that was high by chance."""
    run = chain(2).losses(stalled(2.3, 200, seed=3)).logits(0).logits(4)
    accuracies = [0.16, 0.16, 0.15, *[0.1] * 7]
    run.metric("val_accuracy", {20 * i: value for i, value in enumerate(accuracies)})
    assert "overfitting" in diagnosed(run).passed


def test_four_evaluations_and_unknown_names_say_nothing(chain: Chains) -> None:
    run = evaluated(chain(2).losses(learning(100)), RISING[:4])
    run.metric("val_widgets", dict.fromkeys(range(0, 100, 10), 1.0))
    assert "4 evaluations" in not_checked(diagnosed(run), "overfitting").reason
