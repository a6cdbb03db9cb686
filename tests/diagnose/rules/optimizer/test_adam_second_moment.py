"""adam_second_moment on synthetic second moments."""

from collections.abc import Sequence

import pytest
from judged_runs import WIDTH, Chain, Chains, diagnosed, found, learning, not_checked, stalled
from second_moments import second_moment

from telemetry.diagnose.finding import Severity

ID = "adam_second_moment"
N = WIDTH**2


def ratios(run: Chain, values: dict[int, float], *, usual: float = 0.8) -> Chain:
    """Ratio of the gradient to the second moment in each sample, the same in three layers."""
    for step in range(0, 200, 4):
        for layer in range(3):
            second_moment(run, layer, step, rms_ratio=values.get(step, usual))
    return run


def jumping(*, at: int, back: int = 200) -> list[float]:
    """A loss of 2 with a tenth of noise that stands at 6 for a while."""
    losses = stalled(2.0, 200, noise=0.01)
    return [3 * loss if at <= step < back else loss for step, loss in enumerate(losses)]


def moment(run: Chain) -> object:
    """What the rule alone says: a finding, or None."""
    return next(iter(diagnosed(run, detectors=[ID]).findings), None)


def test_a_negative_second_moment_is_an_error(chain: Chains) -> None:
    run = chain(3).losses(learning(200), every=4)
    second_moment(run, 1, 8, min=-1e-9)
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.ERROR
    assert (result.layer, result.first_step) == ("l1", 8)
    assert "negative" in result.message


def test_a_moment_that_overflows_is_an_error_and_one_that_got_a_nan_is_not_its_fault(
    chain: Chains,
) -> None:
    over = chain(2).losses(learning(200), every=4).gradients(8, [1.0, 1.0])
    second_moment(over, 0, 8, n_inf=3)
    assert "not finite" in found(diagnosed(over), ID).message
    given = chain(2).losses(learning(200), every=4)
    given.norm("l0.weight", "gradient", 8, 1.0, n=N, n_nan=2)
    second_moment(given, 0, 8, n_nan=3)
    assert moment(given) is None


def test_moments_of_a_first_step_in_mid_training_are_told(chain: Chains) -> None:
    run = ratios(chain(3).losses(learning(200), every=4), {120: 1.0})
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.INFO
    assert result.first_step == 120
    assert "were reset at step 120" in result.message


def test_a_lost_state_that_costs_the_loss_is_a_warning(chain: Chains) -> None:
    run = ratios(chain(3).losses(jumping(at=121), every=4), {120: 1.0})
    assert found(diagnosed(run, detectors=[ID]), ID).severity is Severity.WARNING


@pytest.mark.parametrize(
    "steps", [[0], [48], range(100, 200, 4)], ids=["first", "early", "constant"]
)
def test_young_moments_and_constant_gradients_are_no_loss_of_state(
    chain: Chains, steps: Sequence[int]
) -> None:
    usual = 0.99 if len(steps) > 1 else 0.8
    run = chain(3).losses(learning(200), every=4)
    assert moment(ratios(run, dict.fromkeys(steps, 1.0), usual=usual)) is None


def test_large_ratios_before_a_jump_of_the_loss_are_its_cause(chain: Chains) -> None:
    run = ratios(chain(3).losses(jumping(at=132), every=4), {120: 9.0, 124: 12.0})
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.WARNING
    assert (result.layer, result.first_step, result.value) == ("l0", 120, 9.0)
    assert "the loss jumps at step 130" in result.message  # the median of five from there
    spike = found(diagnosed(run), "loss_spike")
    assert spike.consequence_of == ID


def test_a_loss_that_comes_back_is_information(chain: Chains) -> None:
    run = ratios(chain(3).losses(jumping(at=132, back=142), every=4), {120: 9.0, 124: 12.0})
    assert found(diagnosed(run), ID).severity is Severity.INFO


@pytest.mark.parametrize(
    ("losses", "values"),
    [
        (stalled(2.0, 200), {120: 9.0, 124: 12.0}),  # no jump
        (jumping(at=132), {120: 9.0}),  # one sample
        (jumping(at=118), {120: 9.0, 124: 12.0}),  # the jump came first
        (jumping(at=132), {120: 4.0, 124: 4.0}),
    ],
    ids=["no jump", "one sample", "jump first", "small"],
)
def test_other_ratios_pass(chain: Chains, losses: list[float], values: dict[int, float]) -> None:
    assert moment(ratios(chain(3).losses(losses, every=4), values)) is None


def test_no_second_moment_leaves_it_unchecked(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 120), every=4)
    assert "the Adam family" in not_checked(diagnosed(run), ID).reason


def falling(run: Chain, factor: float, *, at: int = 120) -> Chain:
    """Second moments that are multiplied by a factor at one sample."""
    for step in range(0, 200, 4):
        for layer in range(3):
            now = 1e-6 * N * (factor if step >= at else 1.0)
            second_moment(run, layer, step, sum=now, rms_ratio=0.8)
    return run


def test_moments_that_fall_faster_than_they_decay_were_replaced(chain: Chains) -> None:
    run = falling(chain(3).losses(jumping(at=121), every=4), 1e-3)
    result = found(diagnosed(run), ID)
    assert (result.severity, result.first_step) == (Severity.WARNING, 120)
    assert "faster than they can decay" in result.message
    assert found(diagnosed(run), "loss_spike").consequence_of == ID


@pytest.mark.parametrize(("beta2", "lost"), [(0.999, True), (0.95, False)])
def test_samples_far_apart_are_held_against_the_decay_of_the_optimizer(
    chain: Chains, beta2: float, *, lost: bool
) -> None:
    """Forty steps leave 0.96 of a moment at 0.999, and 0.13 at 0.95."""
    run = chain(3).losses(jumping(at=121), every=40)
    groups = [{"betas": [0.9, beta2]}]
    run.event("optimizer", index=0, **{"class": "Adam", "groups": groups})
    for step in range(0, 200, 40):
        for layer in range(3):
            now = 1e-6 * N * (0.04 if step >= 160 else 1.0)
            second_moment(run, layer, step, sum=now, rms_ratio=0.8)
    assert (moment(run) is not None) is lost


@pytest.mark.parametrize(("share", "lost"), [(0.05, False), (0.01, True)])
def test_a_young_moment_falls_as_its_correction_does(
    chain: Chains, share: float, *, lost: bool
) -> None:
    """From step 100 to 900 beta2 leaves 0.45; the correction grows from 0.096 to 0.59 meanwhile."""
    run = chain(3).losses(learning(1000), every=100)
    run.event("optimizer", index=0, **{"class": "Adam", "groups": [{"betas": [0.9, 0.999]}]})
    for step in (0, 50, 100, 900, 950):
        for layer in range(3):
            now = 1e-6 * N * (share if step >= 900 else 1.0)
            second_moment(run, layer, step, sum=now, rms_ratio=0.8)
    assert (moment(run) is not None) is lost


def test_moments_may_fall_as_fast_as_they_decay(chain: Chains) -> None:
    run = falling(chain(3).losses(jumping(at=121), every=4), 0.9**4)
    assert moment(run) is None
