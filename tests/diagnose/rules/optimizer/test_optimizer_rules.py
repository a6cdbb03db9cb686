"""Rules about the optimizer on synthetic second moments and clipping."""

from collections.abc import Sequence

import pytest
from judged_runs import WIDTH, Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

CLIP = "clip_saturation"
MOMENT = "adam_second_moment"
EPSILON = "epsilon_domination"
N = WIDTH**2


def second_moment(run: Chain, layer: int, step: int, **values: object) -> None:
    """A row of one layer, whose mean is (1e-3)^2."""
    name = f"l{layer}.weight"
    common = {"sum": 1e-6 * N, "min": 0.0, "rms_ratio": 1.0, "n_below_eps": 0}
    run.norm(name, "optimizer_state", step, 1e-6, n=N, **{**common, **values})


def moments(
    run: Chain,
    losses: Sequence[float],
    below: Sequence[float],
    *,
    steps: Sequence[int] = range(0, 120, 4),
    n_zero: int = 0,
) -> Chain:
    """Second moments of the layers, of which these shares are below epsilon squared."""
    if "steps" not in run.rows:
        run.losses(losses, every=4)
    for step in steps:
        for index, share in enumerate(below):
            n_below = int(share * (N - n_zero))
            second_moment(run, index, step, n_below_eps=n_below, n_zero=n_zero)
    return run


def test_an_epsilon_that_sets_every_step_of_a_stalled_run_is_an_error(chain: Chains) -> None:
    run = moments(chain(3), stalled(2.3, 120), [0.95, 1.0, 0.95])
    result = found(diagnosed(run), EPSILON)
    assert result.severity is Severity.ERROR
    assert result.value == pytest.approx((0.95 + 1.0 + 0.95) / 3, abs=1e-3)
    assert result.layer == "l1"
    assert result.layers == ("l1", "l0", "l2")
    assert (result.first_step, result.last_step) == (20, 116)
    assert result.evidence["usual_root"] == pytest.approx(1e-3)
    assert "eps of the optimizer to 1e-05" in result.advice
    assert result.consequence_of is None


def test_clipping_that_leaves_nothing_is_what_made_the_moments_small(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 120), every=4, clip_coefficient=1e-6)
    result = found(diagnosed(moments(run, [], [0.95, 1.0, 0.95])), EPSILON)
    assert "clipping leaves 1e-06 of the gradient" in result.message
    assert "Raise the norm" in result.advice


def test_severity_follows_the_share_and_the_progress(chain: Chains) -> None:
    half = moments(chain(2), stalled(2.3, 120), [0.6, 0.6])
    assert found(diagnosed(half), EPSILON).severity is Severity.WARNING
    learns = moments(chain(2), learning(120, end=1.6), [0.95, 0.95])
    assert found(diagnosed(learns), EPSILON).severity is Severity.INFO
    ended = moments(chain(2), [*learning(60), *[0.1] * 60], [0.95, 0.95])
    assert EPSILON in diagnosed(ended).passed


def test_one_matrix_and_the_first_samples_do_not_speak_for_all(chain: Chains) -> None:
    one = moments(chain(3), stalled(2.3, 120), [1.0, 0.1, 0.1])
    assert EPSILON in diagnosed(one).passed
    early = moments(chain(2), stalled(2.3, 120), [1.0, 1.0], steps=range(0, 32, 4))
    moments(early, [], [0.0, 0.0], steps=range(32, 120, 4))
    assert EPSILON in diagnosed(early).passed


def test_elements_that_never_had_a_gradient_do_not_count(chain: Chains) -> None:
    rare = moments(chain(2), stalled(2.3, 120), [0.2, 0.2], n_zero=N * 3 // 4)
    assert EPSILON in diagnosed(rare).passed
    most = moments(chain(2), stalled(2.3, 120), [0.8, 0.8], n_zero=N * 3 // 4)
    assert found(diagnosed(most), EPSILON).value == pytest.approx(0.8, abs=1e-3)


def test_no_second_moment_is_not_checked(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 120), every=4)
    assert "optimizers of Adam's type" in not_checked(diagnosed(run), EPSILON).reason


def test_small_moments_of_vanished_gradients_follow_from_them(chain: Chains) -> None:
    run = moments(chain(10), stalled(2.3, 120), [1.0] * 10)
    for step in range(0, 120, 4):
        run.gradients(step, [2.0 ** (-2.5 * (9 - index)) for index in range(10)])
    assert found(diagnosed(run), EPSILON).consequence_of == "vanishing_gradient"


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
    return next(iter(diagnosed(run, detectors=[MOMENT]).findings), None)


def test_a_negative_second_moment_is_an_error(chain: Chains) -> None:
    run = chain(3).losses(learning(200), every=4)
    second_moment(run, 1, 8, min=-1e-9)
    result = found(diagnosed(run), MOMENT)
    assert result.severity is Severity.ERROR
    assert (result.layer, result.first_step) == ("l1", 8)
    assert "negative" in result.message


def test_a_moment_that_overflows_is_an_error_and_one_that_got_a_nan_is_not_its_fault(
    chain: Chains,
) -> None:
    over = chain(2).losses(learning(200), every=4).gradients(8, [1.0, 1.0])
    second_moment(over, 0, 8, n_inf=3)
    assert "not finite" in found(diagnosed(over), MOMENT).message
    given = chain(2).losses(learning(200), every=4)
    given.norm("l0.weight", "gradient", 8, 1.0, n=N, n_nan=2)
    second_moment(given, 0, 8, n_nan=3)
    assert moment(given) is None


def test_moments_of_a_first_step_in_mid_training_are_told(chain: Chains) -> None:
    run = ratios(chain(3).losses(learning(200), every=4), {120: 1.0})
    result = found(diagnosed(run), MOMENT)
    assert result.severity is Severity.INFO
    assert result.first_step == 120
    assert "began anew at step 120" in result.message


def test_a_lost_state_that_costs_the_loss_is_a_warning(chain: Chains) -> None:
    run = ratios(chain(3).losses(jumping(at=121), every=4), {120: 1.0})
    assert found(diagnosed(run, detectors=[MOMENT]), MOMENT).severity is Severity.WARNING


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
    result = found(diagnosed(run), MOMENT)
    assert result.severity is Severity.WARNING
    assert (result.layer, result.first_step, result.value) == ("l0", 120, 9.0)
    assert "the loss jumps at step 130" in result.message  # the median of five from there
    spike = found(diagnosed(run), "loss_spike")
    assert spike.consequence_of == MOMENT


def test_a_loss_that_comes_back_is_information(chain: Chains) -> None:
    run = ratios(chain(3).losses(jumping(at=132, back=142), every=4), {120: 9.0, 124: 12.0})
    assert found(diagnosed(run), MOMENT).severity is Severity.INFO


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
    assert "Adam's type" in not_checked(diagnosed(run), MOMENT).reason


def test_clipping_at_every_step_is_told(chain: Chains) -> None:
    run = chain(3).losses(learning(120), clip_coefficient=0.05)
    result = found(diagnosed(run), CLIP)
    assert result.severity is Severity.INFO
    assert result.value == pytest.approx(20.0)
    assert (result.first_step, result.last_step) == (0, 119)
    assert "divided by 20" in result.advice


@pytest.mark.parametrize("coefficient", [1.0, 0.5])
def test_clipping_that_stands_aside_or_cuts_little_passes(
    chain: Chains, coefficient: float
) -> None:
    run = chain(3).losses(learning(120), clip_coefficient=coefficient)
    assert CLIP in diagnosed(run).passed


def test_no_clipping_is_not_checked(chain: Chains) -> None:
    run = chain(3).losses(learning(120))
    assert "clipping was seen in 0 steps" in not_checked(diagnosed(run), CLIP).reason


def falling(run: Chain, factor: float, *, at: int = 120) -> Chain:
    """Second moments that are multiplied by a factor at one sample."""
    for step in range(0, 200, 4):
        for layer in range(3):
            now = 1e-6 * N * (factor if step >= at else 1.0)
            second_moment(run, layer, step, sum=now, rms_ratio=0.8)
    return run


def test_moments_that_fall_faster_than_they_decay_were_replaced(chain: Chains) -> None:
    run = falling(chain(3).losses(jumping(at=121), every=4), 1e-3)
    result = found(diagnosed(run), MOMENT)
    assert (result.severity, result.first_step) == (Severity.WARNING, 120)
    assert "faster than they can decay" in result.message
    assert found(diagnosed(run), "loss_spike").consequence_of == MOMENT


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


@pytest.mark.parametrize(("epsilon", "is_found"), [(1.0, True), (1e-8, False)])
def test_without_second_moments_gradients_are_held_against_a_chosen_epsilon(
    chain: Chains, epsilon: float, *, is_found: bool
) -> None:
    run = chain(3).losses(stalled(2.3, 120), every=4)
    run.event("optimizer", index=0, **{"class": "RMSprop", "groups": [{"eps": epsilon}]})
    for step in range(0, 120, 4):
        run.gradients(step, [0.1] * 3)
    result = diagnosed(run)
    if is_found:
        assert found(result, EPSILON).severity is Severity.ERROR
    else:
        assert "Adam's type" in not_checked(result, EPSILON).reason


def of_rmsprop(
    run: Chain,
    *,
    epsilon: float,
    update: float,
    losses: Sequence[float] | None = None,
    **gradient: object,
) -> Chain:
    """Gradients of RMS 2^-9 and weights of norm 5, updated by so much a step."""
    run.losses(losses or learning(120, end=1.6), every=4)
    run.event("optimizer", index=0, **{"class": "RMSprop", "groups": [{"eps": epsilon}]})
    for step in range(0, 120, 4):
        for index in range(3):
            name = f"l{index}.weight"
            run.norm(name, "gradient", step, WIDTH * 2.0**-9, n=N, **gradient)
            run.norm(name, "weight", step, 5.0, n=N)
            run.norm(name, "update", step, update, n=N)
    return run


@pytest.mark.parametrize(
    ("epsilon", "update", "expected"),
    [
        (2.0**-4, 0.002, Severity.WARNING),
        (2.0**-4, 0.02, Severity.INFO),  # a rate that makes up for it
        (2.0**-7, 0.002, Severity.INFO),  # steps four times shorter
    ],
)
def test_a_chosen_epsilon_that_makes_small_steps_warns_a_run_that_learns(
    chain: Chains, epsilon: float, update: float, expected: Severity
) -> None:
    run = of_rmsprop(chain(3), epsilon=epsilon, update=update)
    assert found(diagnosed(run), EPSILON).severity is expected


@pytest.mark.parametrize(
    ("epsilon", "expected"), [(2.0**-6, Severity.WARNING), (2.0**-8, Severity.INFO)]
)
def test_shorter_steps_count_sooner_while_the_loss_falls_to_the_last(
    chain: Chains, epsilon: float, expected: Severity
) -> None:
    losses = [2.3 - 0.005 * step for step in range(120)]
    run = of_rmsprop(chain(3), epsilon=epsilon, update=0.002, losses=losses)
    assert found(diagnosed(run), EPSILON).severity is expected


def test_clipped_gradients_are_held_against_epsilon_as_the_optimizer_saw_them(
    chain: Chains,
) -> None:
    run = of_rmsprop(chain(3), epsilon=2.0**-4, update=0.002, provenance="clipped", scale=None)
    result = found(diagnosed(run), EPSILON)
    assert result.severity is Severity.WARNING
    assert "< 0.0625 then 1.0" in str(result.evidence["query"])
