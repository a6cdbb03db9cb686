"""vanishing_through_time on synthetic gradients per time step."""

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

ID = "vanishing_through_time"
STEPS = range(0, 120, 4)


def fading(n: int, bits: float) -> np.ndarray:
    """Norms of n time steps that fall by so many bits a step toward the first."""
    return 2.0 ** (-bits * np.arange(n)[::-1])


def read_at(n: int, *places: int) -> np.ndarray:
    gradient = np.zeros(n)
    gradient[list(places)] = 1.0
    return gradient


def with_rnn(
    run: Chain, losses: list[float], gradient: np.ndarray, read: np.ndarray, *, type_: str = "LSTM"
) -> Chain:
    run.module("rnn", type_=type_, depth=1, role="recurrent").losses(losses, every=4)
    for step in STEPS:
        for site, values in (("input_grad", gradient), ("output_grad", read)):
            profile = values.astype("<f4").tobytes()
            run.activation("rnn", site, step, n_profile=values.size, profile=profile)
    return run


def test_two_thirds_out_of_reach_of_a_stalled_run(chain: Chains) -> None:
    run = with_rnn(chain(0), stalled(2.0, 120), fading(30, 1.0), read_at(30, -1))
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.WARNING
    assert result.layer == "rnn"
    assert result.first_step == 20
    assert result.value == pytest.approx(19 / 30)  # 2^-11 and less: 29 - 10 of 30 steps
    assert "shrinks 2× per time step" in result.message
    assert "profiles" in result.evidence["query"]


def test_a_run_that_learns_is_only_told(chain: Chains) -> None:
    run = with_rnn(chain(0), learning(120), fading(30, 1.0), read_at(30, -1))
    assert found(diagnosed(run), ID).severity is Severity.INFO


def test_a_gradient_that_reaches_the_first_steps_passes(chain: Chains) -> None:
    """Horizon 1.4 sequence lengths; and 0.8, of which a fifth is out of reach."""
    for bits in (10 / 1.4 / 40, 10 / 0.8 / 40):
        run = with_rnn(chain(0), stalled(2.0, 120), fading(40, bits), read_at(40, -1))
        assert ID in diagnosed(run, detectors=[ID]).passed


def test_both_directions_are_weakest_in_the_middle(chain: Chains) -> None:
    one_way = fading(70, 0.5)
    run = with_rnn(chain(0), stalled(2.0, 120), one_way + one_way[::-1], read_at(70, 0, -1))
    assert found(diagnosed(run), ID).value == pytest.approx(28 / 70)  # steps 21 to 48


def test_a_loss_at_every_step_has_nothing_far_away(chain: Chains) -> None:
    run = with_rnn(chain(0), stalled(2.0, 120), fading(60, 1.0), np.ones(60))
    assert "reads many time steps" in not_checked(diagnosed(run), ID).reason


def test_short_sequences_are_not_judged(chain: Chains) -> None:
    run = with_rnn(chain(0), stalled(2.0, 120), fading(15, 2.0), read_at(15, -1))
    assert "fewer than 16" in not_checked(diagnosed(run), ID).reason


def test_no_recurrent_layer_is_said(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.0, 120), every=4)
    assert "nn.LSTM" in not_checked(diagnosed(run), ID).reason


def test_a_cell_in_a_loop_is_judged_by_its_state(chain: Chains) -> None:
    """Its state has a gradient at every step, read or not."""
    run = with_rnn(chain(0), stalled(2.0, 120), np.ones(30), fading(30, 1.0), type_="GRUCell")
    assert found(diagnosed(run), ID).value == pytest.approx(19 / 30)
    run = with_rnn(chain(0), stalled(2.0, 120), fading(30, 1.0), np.ones(30), type_="GRUCell")
    assert ID in diagnosed(run, detectors=[ID]).passed


def test_a_gradient_that_underflows_is_out_of_reach(chain: Chains) -> None:
    gradient = read_at(40, *range(30, 40))
    run = with_rnn(chain(0), stalled(2.0, 120), gradient, read_at(40, -1))
    assert found(diagnosed(run), ID).value == pytest.approx(30 / 40)


def test_a_gradient_of_zero_says_nothing(chain: Chains) -> None:
    run = with_rnn(chain(0), stalled(2.0, 120), np.zeros(40), read_at(40, -1))
    assert ID in {entry.detector for entry in diagnosed(run).not_checked}
