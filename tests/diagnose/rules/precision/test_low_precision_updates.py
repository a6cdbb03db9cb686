"""low_precision_updates."""

from collections.abc import Callable, Sequence

import pytest
from judged_runs import WIDTH, Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

ID = "low_precision_updates"


def rounded(
    run: Chain,
    lost: Callable[[int], float | None],
    *,
    losses: Sequence[float],
    dtype: str = "bfloat16",
    stuck: float = 0.5,
    lr_group: int | None = 0,
) -> Chain:
    """Two matrices that lose this share of their updates at a step; every fifth is sampled."""
    run.losses(losses, every=5)
    for index in range(2):
        name = f"m{index}.weight"
        run.module(f"m{index}", depth=index + 1)
        run.parameter(name, shape=(WIDTH, WIDTH), depth=index + 1, dtype=dtype, lr_group=lr_group)
        for step in range(0, len(losses), 5):
            n = WIDTH**2
            run.norm(
                name, "update", step, 0.1, n=n, lost_mass=lost(step), n_stuck=int(stuck * n)
            )  # fmt: skip
    return run


def test_lost_updates_of_a_run_that_does_not_learn_are_an_error(chain: Chains) -> None:
    run = rounded(chain(0), lambda _: 0.9, losses=stalled(2.3, 200))
    result = found(diagnosed(run), ID)
    assert (result.severity, result.first_step) == (Severity.ERROR, 10)
    assert result.value == pytest.approx(0.9)
    assert result.layers == ("m0", "m1")
    assert result.earliest == 0  # whatever smaller steps went before were lost too


def test_lost_updates_of_a_run_that_learns_are_a_warning(chain: Chains) -> None:
    run = rounded(chain(0), lambda _: 0.6, losses=learning(400, end=1.5))
    assert found(diagnosed(run), ID).severity is Severity.WARNING


def test_small_steps_late_in_a_run_are_lost_without_harm(chain: Chains) -> None:
    run = rounded(chain(0), lambda step: 0.05 if step < 150 else 0.8, losses=learning(800))
    assert ID in diagnosed(run).passed


@pytest.mark.parametrize(("share", "passes"), [(0.15, True), (0.45, False)])
def test_the_limit_lies_between(chain: Chains, share: float, passes: bool) -> None:  # noqa: FBT001
    run = rounded(chain(0), lambda _: share, losses=learning(400, end=1.5))
    assert (ID in diagnosed(run).passed) == passes


def test_fine_tuning_is_information(chain: Chains) -> None:
    run = chain(0, tags=("fine-tune",))
    rounded(run, lambda _: 0.9, losses=learning(400, start=1.0, end=0.7))
    assert found(diagnosed(run), ID).severity is Severity.INFO


def test_weights_in_float32_pass(chain: Chains) -> None:
    run = rounded(chain(0), lambda _: None, losses=stalled(2.3, 200), dtype="float32")
    assert ID in diagnosed(run).passed


def test_weights_that_no_optimizer_holds_pass(chain: Chains) -> None:
    run = rounded(chain(0), lambda _: None, losses=stalled(2.3, 200), stuck=1.0, lr_group=None)
    assert ID in diagnosed(run).passed


def test_of_an_unknown_optimizer_elements_that_stand_still_count(chain: Chains) -> None:
    """It may compensate what is rounded away: then the run learns, and it is information."""
    run = rounded(chain(0), lambda _: None, losses=stalled(2.3, 200), stuck=0.97)
    assert found(diagnosed(run), ID).severity is Severity.WARNING
    run = rounded(chain(0), lambda _: None, losses=learning(200, start=2.3, end=1.9), stuck=0.97)
    assert found(diagnosed(run), ID).severity is Severity.INFO


def test_of_an_unknown_optimizer_most_elements_must_stand_still(chain: Chains) -> None:
    run = rounded(chain(0), lambda _: None, losses=stalled(2.3, 200), stuck=0.75)
    assert "does not know which update" in not_checked(diagnosed(run), ID).reason


def test_a_loss_of_either_sign_needs_no_level_for_lost_updates(chain: Chains) -> None:
    losses = [loss - 2.5 for loss in learning(400, start=4.0, end=0.1)]
    run = rounded(chain(0), lambda _: 0.6, losses=losses)
    assert found(diagnosed(run), ID).severity is Severity.WARNING
    policy = [loss - 2.3 for loss in stalled(2.3, 200)]
    unseen = rounded(chain(0), lambda _: 0.6, losses=policy)
    assert found(diagnosed(unseen), ID).severity is Severity.INFO
    late = rounded(chain(0), lambda step: 0.0 if step < 250 else 0.9, losses=losses)
    assert ID in diagnosed(late).passed


def test_a_small_learning_rate_does_not_count(chain: Chains) -> None:
    run = rounded(chain(0), lambda step: 0.9 if step >= 40 else 0.0, losses=learning(400))
    for row in run.rows["steps"]:
        row["lr"] = 0.1 if int(str(row["step"])) < 40 else 0.01
    assert ID in diagnosed(run).passed


def test_steps_of_adam_count_from_the_first_on(chain: Chains) -> None:
    run = rounded(chain(0), lambda _: 0.9, losses=stalled(2.3, 200))
    run.event("optimizer", index=0, **{"class": "AdamW", "groups": [{"tensors": 2}]})
    assert found(diagnosed(run), ID).first_step == 0


def test_too_few_samples_are_not_judged(chain: Chains) -> None:
    run = rounded(chain(0), lambda _: 0.9, losses=stalled(2.3, 20))
    assert "sampled steps" in not_checked(diagnosed(run), ID).reason
