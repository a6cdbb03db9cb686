"""learning_rate_too_low."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import WIDTH, Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity
from telemetry.format.manifest import Status

ID = "learning_rate_too_low"
N = WIDTH**2


def stepping(
    run: Chain,
    losses: Sequence[float],
    ratios: Sequence[float],
    *,
    asked: float = 1e-5,
    every: int = 5,
    absmax: float = 0.5,
    **extra: object,
) -> Chain:
    """Steps of these sizes in the layers, which together ask for a fall of the loss in each step.

    Weights have norm 8, above the floor of the ratio.
    """
    run.losses(losses, every=every, **extra)
    for step in range(0, len(losses), every):
        run.logits(step, absmax=absmax)
        for index, ratio in enumerate(ratios):
            name = f"l{index}.weight"
            run.norm(name, "gradient", step, 1.0, n=N)
            run.norm(name, "weight", step, 8.0, n=N)
            dot = -asked / len(ratios)
            run.norm(name, "update", step, 8.0 * ratio, n=N, dot_grad=dot)
    return run


def severity(run: Chain) -> Severity | None:
    """Of the finding, None where it passes; whatever else is found."""
    diagnosis = diagnosed(run, detectors=[ID])
    assert not diagnosis.not_checked, diagnosis.not_checked[0].reason
    return diagnosis.findings[0].severity if diagnosis.findings else None


def test_steps_that_ask_for_nothing_are_a_warning_with_the_factor(chain: Chains) -> None:
    run = stepping(chain(3), stalled(2.3, 300), [1e-6, 1e-5, 5e-6], lr=1e-6)
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(1e-5)
    assert result.evidence["asked_share"] == pytest.approx(300 * 1e-5 / 2.3, rel=0.05)
    # 2^-10 is 2^6.6 times as much; half of the loss takes 2^8.6 times as much: 9 doublings.
    assert "by 512 (2^9, from 1e-06 to 0.000512)" in result.advice
    assert "300 steps together can lower the loss of 2.31 by about 0.13 %" in result.message


def test_it_is_the_root_of_a_loss_that_does_not_fall(chain: Chains) -> None:
    run = stepping(chain(3), stalled(2.3, 300), [1e-6] * 3)
    diagnosis = diagnosed(run)
    assert found(diagnosis, ID).consequence_of is None
    assert found(diagnosis, "loss_not_decreasing").consequence_of == ID


def test_one_matrix_that_takes_usual_steps_clears_the_run(chain: Chains) -> None:
    assert severity(stepping(chain(3), stalled(2.3, 300), [1e-7, 1e-7, 2e-3])) is None


def test_steps_that_ask_for_the_loss_are_large_enough_whatever_their_size(chain: Chains) -> None:
    assert severity(stepping(chain(3), stalled(2.3, 300), [1e-5] * 3, asked=2e-3)) is None


@pytest.mark.parametrize(("ratio", "told"), [(2.0**-12, True), (2.0**-10, False)])
def test_the_limit_is_half_of_a_usual_step(chain: Chains, ratio: float, told: bool) -> None:  # noqa: FBT001
    assert (severity(stepping(chain(3), stalled(2.3, 300), [ratio] * 3)) is not None) == told


@pytest.mark.parametrize(
    "losses",
    [learning(300), [*learning(150), *stalled(0.1, 150)], learning(300, end=1.9)],
    ids=["learns", "converged", "slowly"],
)
def test_a_run_that_learns_is_not_too_slow(chain: Chains, losses: list[float]) -> None:
    assert severity(stepping(chain(3), losses, [1e-5] * 3)) is None


def test_a_fall_of_a_twentieth_is_information(chain: Chains) -> None:
    run = stepping(chain(3), learning(300, end=2.18), [1e-5] * 3)
    assert severity(run) is Severity.INFO


def test_fine_tuning_is_information(chain: Chains) -> None:
    tagged = stepping(chain(3, tags=("fine-tune",)), stalled(2.3, 300), [1e-5] * 3)
    assert severity(tagged) is Severity.INFO
    trained = stepping(chain(3), stalled(1.4, 300), [1e-5] * 3, absmax=2.0)
    assert severity(trained) is Severity.INFO


@pytest.mark.parametrize(("status", "steps"), [(Status.RUNNING, 300), (Status.FINISHED, 90)])
def test_a_rate_that_still_warms_up_is_not_judged(
    chain: Chains, status: Status, steps: int
) -> None:
    run = stepping(chain(3), stalled(2.3, steps), [1e-5] * 3)
    warm_up(run)
    assert "warming up" in not_checked(diagnosed(run, status=status), ID).reason


def test_a_run_that_ends_in_its_warm_up_is_judged(chain: Chains) -> None:
    run = stepping(chain(3), stalled(2.3, 300), [1e-5] * 3)
    warm_up(run)
    diagnosis = diagnosed(run)
    assert found(diagnosis, ID).consequence_of == "schedule"
    assert found(diagnosis, "schedule").severity is Severity.WARNING


def warm_up(run: Chain) -> None:
    """A rate that rises in every step."""
    for row in run.rows["steps"]:
        row["lr"] = 1e-6 * (1 + int(str(row["step"])))


def test_small_steps_at_a_decayed_rate_do_not_count(chain: Chains) -> None:
    run = stepping(chain(3), stalled(2.3, 300), [1e-2] * 3)
    for row in run.rows["tensor_stats"]:
        if row["kind"] == "update" and int(str(row["step"])) >= 50:
            row["sumsq"] = (8.0 * 1e-6) ** 2
    for row in run.rows["steps"]:
        row["lr"] = 0.1 if int(str(row["step"])) < 50 else 1e-5
    assert severity(run) is None


@pytest.mark.parametrize(("peak_ratio", "told"), [(2.0**-12, True), (2.0**-10, False)])
def test_steps_of_a_decaying_rate_are_scaled_up(
    chain: Chains,
    peak_ratio: float,
    told: bool,  # noqa: FBT001
) -> None:
    """Nearly all samples are taken at less than half of the largest rate."""
    run = stepping(chain(3), stalled(2.3, 300), [0.0] * 3)
    for row in run.rows["steps"]:
        row["lr"] = 0.1 * 0.99 ** int(str(row["step"]))
    for row in run.rows["tensor_stats"]:
        if row["kind"] == "update":
            row["sumsq"] = (8.0 * peak_ratio * 0.99 ** int(str(row["step"]))) ** 2
    assert (severity(run) is not None) == told


def test_a_plan_of_which_little_was_run_is_no_fault(chain: Chains) -> None:
    assert severity(stepping(chain(3), stalled(2.3, 300), [1e-5] * 3)) is Severity.WARNING
    planned = stepping(chain(3, total_steps=30_000), stalled(2.3, 300), [1e-5] * 3, asked=1e-4)
    assert severity(planned) is None


@pytest.mark.parametrize(("asked", "told"), [(0.0015, True), (0.003, False)])
def test_a_short_run_is_judged_by_what_a_hundred_of_its_steps_would_ask_for(
    chain: Chains,
    asked: float,
    told: bool,  # noqa: FBT001
) -> None:
    """Forty of them ask for 3 and 5 % of the loss: neither is the tenth that is the limit."""
    run = stepping(chain(3), stalled(2.3, 40), [1e-5] * 3, asked=asked)
    assert severity(run) is (Severity.WARNING if told else None)


def test_a_run_without_samples_is_not_judged(chain: Chains) -> None:
    run = stepping(chain(3), stalled(2.3, 90), [1e-5] * 3, every=50)
    assert "needs at least 3 samples" in not_checked(diagnosed(run), ID).reason


def test_weights_that_do_not_move_at_all_are_no_matter_of_the_rate(chain: Chains) -> None:
    assert severity(stepping(chain(3), stalled(2.3, 300), [0.0] * 3)) is None


def test_a_loss_that_does_not_measure_progress_is_not_judged(chain: Chains) -> None:
    run = stepping(chain(3, tags=("gan",)), stalled(2.3, 300), [1e-5] * 3)
    assert "gan" in not_checked(diagnosed(run), ID).reason


def test_a_high_start_that_stays_is_told(chain: Chains) -> None:
    """Above the level of knowing nothing a loss counts as diverged, though it never rose."""
    run = stepping(chain(3), stalled(4.6, 300), [1e-5] * 3)
    assert severity(run) is Severity.WARNING


def test_clipping_that_leaves_little_is_named(chain: Chains) -> None:
    run = stepping(chain(3), stalled(2.3, 300), [1e-5] * 3, clip_coefficient=2e-4)
    assert "it leaves only 0.0002 of the gradient" in found(diagnosed(run), ID).advice


def test_updates_that_precision_swallows_are_its_consequence(chain: Chains) -> None:
    run = stepping(chain(0), stalled(2.3, 300), [])
    for index in range(2):
        name = f"m{index}.weight"
        run.module(f"m{index}", depth=index + 1)
        run.parameter(name, shape=(WIDTH, WIDTH), depth=index + 1, dtype="bfloat16")
        for step in range(0, 300, 5):
            run.norm(name, "gradient", step, 1.0, n=N)
            run.norm(name, "weight", step, 8.0, n=N)
            run.norm(name, "update", step, 8e-5, n=N, dot_grad=-1e-5, lost_mass=0.9)
    assert found(diagnosed(run), ID).consequence_of == "low_precision_updates"


def test_without_gradients_it_is_not_judged(chain: Chains) -> None:
    run = stepping(chain(3), stalled(2.3, 300), [1e-5] * 3)
    for row in run.rows["tensor_stats"]:
        row.pop("dot_grad", None)
    assert "no gradient" in not_checked(diagnosed(run), ID).reason


def test_a_rise_within_the_noise_of_the_first_losses_is_none(chain: Chains) -> None:
    """The first ten happen to lie 8 % below the rest, which varies by 20 %."""
    losses = stalled(2.3, 300, noise=0.2)
    low = [loss - 0.1 for loss in losses[:10]]
    assert severity(stepping(chain(3), [*low, *losses[10:]], [1e-5] * 3)) is Severity.WARNING
    rose = [*stalled(2.0, 30), *stalled(2.3, 270)]
    assert severity(stepping(chain(3), rose, [1e-5] * 3)) is None


@pytest.mark.parametrize(
    ("name", "ratio", "excluded"),
    [("Adam", 1e-6, True), ("Adam", 1e-4, False), ("SGD", 1e-6, False)],
)
def test_steps_of_an_adaptive_optimizer_are_not_small_for_small_gradients(
    chain: Chains,
    name: str,
    ratio: float,
    excluded: bool,  # noqa: FBT001
) -> None:
    run = stepping(chain(3), stalled(46.0, 300), [ratio] * 3, absmax=60.0)  # twenty times ln 10
    run.event("optimizer", index=0, **{"class": name, "groups": [{"tensors": 3}]})
    diagnosis = diagnosed(run)
    assert found(diagnosis, "poor_initialization").severity is Severity.WARNING
    root = None if excluded else "poor_initialization"
    assert found(diagnosis, ID).consequence_of == root


def test_a_loss_of_either_sign_is_measured_by_its_noise(chain: Chains) -> None:
    draw = np.random.default_rng(0).standard_normal(300)
    nothing = stepping(chain(3), list(draw), [1e-5] * 3, asked=1e-5)
    result = found(diagnosed(nothing, detectors=[ID]), ID)
    assert result.severity is Severity.WARNING
    assert result.evidence["asked_share"] == pytest.approx(300 * 1e-5, rel=0.2)
    assert "of its noise" in result.message
    assert severity(stepping(chain(3), list(draw), [1e-5] * 3, asked=1e-3)) is None
    falls = list(draw - np.linspace(0, 4, 300))
    assert severity(stepping(chain(3), falls, [1e-5] * 3, asked=1e-5)) is None
