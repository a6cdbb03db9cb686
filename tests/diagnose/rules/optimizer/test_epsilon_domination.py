"""epsilon_domination on synthetic second moments."""

from collections.abc import Sequence

import pytest
from judged_runs import WIDTH, Chain, Chains, diagnosed, found, learning, not_checked, stalled
from second_moments import second_moment

from telemetry.diagnose.finding import Severity

ID = "epsilon_domination"
N = WIDTH**2


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


def test_an_epsilon_that_sets_every_step_of_a_stalled_run_warns(chain: Chains) -> None:
    run = moments(chain(3), stalled(2.3, 120), [0.95, 1.0, 0.95])
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx((0.95 + 1.0 + 0.95) / 3, abs=1e-3)
    assert result.layer == "l1"
    assert result.layers == ("l1", "l0", "l2")
    assert (result.first_step, result.last_step) == (20, 116)
    assert result.evidence["usual_root"] == pytest.approx(1e-3)
    assert "optimizer's eps to 1e-05" in result.advice
    assert result.consequence_of is None


def test_clipping_that_leaves_nothing_is_what_made_the_moments_small(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 120), every=4, clip_coefficient=1e-6)
    result = found(diagnosed(moments(run, [], [0.95, 1.0, 0.95])), ID)
    assert "clipping leaves only 1e-06 of the gradient" in result.message
    assert "Raise max_norm" in result.advice


def test_severity_follows_the_share_and_the_progress(chain: Chains) -> None:
    half = moments(chain(2), stalled(2.3, 120), [0.6, 0.6])
    assert found(diagnosed(half), ID).severity is Severity.WARNING
    learns = moments(chain(2), learning(120, end=1.6), [0.95, 0.95])
    assert found(diagnosed(learns), ID).severity is Severity.INFO
    ended = moments(chain(2), [*learning(60), *[0.1] * 60], [0.95, 0.95])
    assert ID in diagnosed(ended).passed


def test_one_matrix_and_the_first_samples_do_not_speak_for_all(chain: Chains) -> None:
    one = moments(chain(3), stalled(2.3, 120), [1.0, 0.1, 0.1])
    assert ID in diagnosed(one).passed
    early = moments(chain(2), stalled(2.3, 120), [1.0, 1.0], steps=range(0, 32, 4))
    moments(early, [], [0.0, 0.0], steps=range(32, 120, 4))
    assert ID in diagnosed(early).passed


def test_elements_that_never_had_a_gradient_do_not_count(chain: Chains) -> None:
    rare = moments(chain(2), stalled(2.3, 120), [0.2, 0.2], n_zero=N * 3 // 4)
    assert ID in diagnosed(rare).passed
    most = moments(chain(2), stalled(2.3, 120), [0.8, 0.8], n_zero=N * 3 // 4)
    assert found(diagnosed(most), ID).value == pytest.approx(0.8, abs=1e-3)


def test_no_second_moment_is_not_checked(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 120), every=4)
    assert "optimizers of the Adam family" in not_checked(diagnosed(run), ID).reason


def test_small_moments_of_vanished_gradients_follow_from_them(chain: Chains) -> None:
    run = moments(chain(10), stalled(2.3, 120), [1.0] * 10)
    for step in range(0, 120, 4):
        run.gradients(step, [2.0 ** (-2.5 * (9 - index)) for index in range(10)])
    assert found(diagnosed(run), ID).consequence_of == "vanishing_gradient"


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
        assert found(result, ID).severity is Severity.WARNING
    else:
        assert "the Adam family" in not_checked(result, ID).reason


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
    assert found(diagnosed(run), ID).severity is expected


@pytest.mark.parametrize(
    ("epsilon", "expected"), [(2.0**-6, Severity.WARNING), (2.0**-8, Severity.INFO)]
)
def test_shorter_steps_count_sooner_while_the_loss_falls_to_the_last(
    chain: Chains, epsilon: float, expected: Severity
) -> None:
    losses = [2.3 - 0.005 * step for step in range(120)]
    run = of_rmsprop(chain(3), epsilon=epsilon, update=0.002, losses=losses)
    assert found(diagnosed(run), ID).severity is expected


def test_clipped_gradients_are_held_against_epsilon_as_the_optimizer_saw_them(
    chain: Chains,
) -> None:
    run = of_rmsprop(chain(3), epsilon=2.0**-4, update=0.002, provenance="clipped", scale=None)
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.WARNING
    assert "< 0.0625 then 1.0" in str(result.evidence["query"])
