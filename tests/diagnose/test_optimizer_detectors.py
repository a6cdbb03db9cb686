"""epsilon_domination on synthetic second moments."""

from collections.abc import Sequence

import pytest
from judged_runs import WIDTH, Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

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
