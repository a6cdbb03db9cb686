"""update_ratio."""

from collections.abc import Sequence

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity


def updates(run: Chain, ratios: list[float], *, steps: Sequence[int] = range(0, 80, 4)) -> Chain:
    for step in steps:
        for index, ratio in enumerate(ratios):
            run.norm(f"l{index}.weight", "weight", step, 8.0, n=4096)
            run.norm(f"l{index}.weight", "update", step, 8.0 * ratio, n=4096)
    return run


def test_large_steps_of_a_failing_run_warn(chain: Chains) -> None:
    run = updates(chain(3).losses(stalled(2.3, 80), every=4), [0.2, 0.3, 0.4])
    result = found(diagnosed(run, detectors=["update_ratio"]), "update_ratio")
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(0.3)
    assert result.layer == "l2"
    assert result.first_step == 20


def test_large_steps_of_a_learning_run_are_information(chain: Chains) -> None:
    run = updates(chain(3).losses(learning(80), every=4), [0.2, 0.3, 0.4])
    assert found(diagnosed(run), "update_ratio").severity is Severity.INFO


def test_one_matrix_that_is_replaced_is_named(chain: Chains) -> None:
    run = updates(chain(3).losses(stalled(2.3, 80), every=4), [0.001, 2.0, 0.001])
    result = found(diagnosed(run, detectors=["update_ratio"]), "update_ratio")
    assert result.layers == ("l1",)


def test_usual_steps_pass_and_few_are_not_judged(chain: Chains) -> None:
    run = updates(chain(3).losses(stalled(2.3, 80), every=4), [1e-3] * 3)
    assert "update_ratio" in diagnosed(run).passed
    run = updates(chain(3).losses(stalled(2.3, 80), every=4), [1e-3] * 3, steps=range(0, 24, 4))
    assert "after step 20" in not_checked(diagnosed(run), "update_ratio").reason
