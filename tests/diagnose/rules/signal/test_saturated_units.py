"""saturated_units."""

from collections.abc import Sequence

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity


def saturated(
    run: Chain,
    layer: str,
    share: float,
    *,
    steps: Sequence[int] = range(24, 60, 2),
    site: str = "output",
) -> Chain:
    for step in steps:
        run.activation(
            layer, site, step, n=6400, n_units=64, n_saturated=round(share * 64),
            n_saturated_entries=round(share * 6400),
        )  # fmt: skip
    return run


def test_saturated_units_hurt_a_run_that_learns_nothing(chain: Chains) -> None:
    run = saturated(chain(3, activation="Tanh").losses(stalled(2.3, 60), every=2), "a0", 0.7)
    result = found(diagnosed(run), "saturated_units")
    assert (result.severity, result.layer, result.first_step) == (Severity.WARNING, "a0", 24)


@pytest.mark.parametrize(("site", "layer"), [("tanh#", "l"), ("tanh#1", "")])
def test_a_functional_activation_is_named_by_its_layer_if_that_is_sure(
    chain: Chains, site: str, layer: str
) -> None:
    """One behind each of three layers; or one alone, which may be behind any of them."""
    run = chain(3, activation="ReLU").losses(stalled(2.3, 60), every=2)
    run.module("head", depth=9).parameter("head.weight", shape=(10, 64), depth=9)
    if layer:
        for index in range(3):
            saturated(run, "", 0.7 * (index == 1), site=f"{site}{index}")
    else:
        saturated(run, "", 0.7, site=site)
    assert found(diagnosed(run), "saturated_units").layer == ("l1" if layer else "")


def test_entries_saturated_at_the_start_are_told(chain: Chains) -> None:
    run = chain(3, activation="Tanh").losses(stalled(2.3, 60), every=2)
    saturated(run, "a0", 0.8, steps=[0])
    result = found(diagnosed(run), "saturated_units")
    assert "entries" in result.message
    assert result.first_step == 0


def test_saturation_of_a_run_that_learns_is_information(chain: Chains) -> None:
    run = saturated(chain(3, activation="Tanh").losses(learning(60), every=2), "a0", 0.7)
    assert found(diagnosed(run), "saturated_units").severity is Severity.INFO


def test_the_output_of_the_network_may_saturate(chain: Chains) -> None:
    run = saturated(chain(3, activation="Tanh").losses(stalled(2.3, 60), every=2), "a2", 1.0)
    assert "gates or outputs" in not_checked(diagnosed(run), "saturated_units").reason


def test_gates_may_saturate(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 60), every=2).module("cell", type_="Cell", depth=1)
    saturated(run, "cell", 1.0, site="sigmoid#0")
    saturated(run, "cell", 0.1, site="tanh#0")
    assert "saturated_units" in diagnosed(run).passed
