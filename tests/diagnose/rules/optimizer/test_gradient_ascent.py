"""gradient_ascent."""

from collections.abc import Sequence

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity


def climbing(run: Chain, sign: float) -> Chain:
    for step in range(20):
        run.norm("l0.weight", "update", step, 0.01, n=4096, dot_grad=0.1 * sign)
    return run


def test_updates_along_the_gradient_climb(chain: Chains) -> None:
    losses = [2.3 + 0.1 * step for step in range(60)]
    result = diagnosed(climbing(chain(2).losses(losses, every=1), 1.0))
    assert result.findings[0].detector == "gradient_ascent"
    assert found(result, "gradient_ascent").severity is Severity.ERROR
    assert {f.consequence_of for f in result.findings[1:]} == {"gradient_ascent"}


def test_updates_against_the_gradient_pass(chain: Chains) -> None:
    run = climbing(chain(2).losses(learning(60), every=1), -1.0)
    assert "gradient_ascent" in diagnosed(run).passed


def test_backward_from_minus_the_loss_climbs(chain: Chains) -> None:
    run = climbing(chain(2), -1.0)
    for step in range(60):
        loss = 2.3 + 0.1 * step
        run.add("steps", step=step, loss=loss, root_sum=-loss, lr=0.1, flags=17, accumulation=1)
    run.logits(0).logits(1)
    assert "minus the loss" in found(diagnosed(run), "gradient_ascent").message


def test_a_negative_cross_entropy_is_climbed(chain: Chains) -> None:
    losses = [-2.3 - 0.1 * step for step in range(60)]
    run = climbing(chain(2).losses(losses, every=1), -1.0).logits(0).logits(1)
    assert found(diagnosed(run), "gradient_ascent").severity is Severity.ERROR


def test_reinforcement_learning_is_not_judged(chain: Chains) -> None:
    run = climbing(chain(2, tags=("RL",)).losses(learning(60), every=1), 1.0)
    assert "tag rl" in not_checked(diagnosed(run), "gradient_ascent").reason


def test_a_loss_of_its_own_kind_that_blows_up_from_its_negative_is_climbed(chain: Chains) -> None:
    """A hundred times the start may be an objective that is meant to rise, a thousand is none."""
    for end, is_climbed in ((200.0, False), (2000.0, True)):
        run = climbing(chain(2), -1.0)
        for step in range(60):
            loss = 2.0 * (end / 2.0) ** (step / 59)
            run.add("steps", step=step, loss=loss, root_sum=-loss, lr=0.1, flags=17, accumulation=1)
        names = {f.detector for f in diagnosed(run).findings}
        assert ("gradient_ascent" in names) is is_climbed


def test_a_loss_of_its_own_kind_that_rose_and_was_lost_is_climbed(chain: Chains) -> None:
    for top, is_climbed in ((8.0, False), (64.0, True)):
        run = climbing(chain(2), -1.0)
        for step in range(60):
            loss = top ** (step / 40) if step < 50 else float("nan")
            run.add("steps", step=step, loss=loss, root_sum=-loss, lr=0.1, flags=17, accumulation=1)
        names = {f.detector for f in diagnosed(run).findings}
        assert ("gradient_ascent" in names) is is_climbed


def test_a_sign_that_turns_for_good_is_found_without_a_sample(chain: Chains) -> None:
    for n_back, is_climbed in ((0, True), (1, False)):
        run = climbing(chain(2), -1.0)
        for step in range(60):
            root = -1.0 if 40 <= step < 60 - n_back else 1.0
            run.add("steps", step=step, loss=1.0, root_sum=root, lr=0.1, flags=1, accumulation=1)
        told = [f for f in diagnosed(run).findings if f.detector == "gradient_ascent"]
        assert [f.first_step for f in told] == [40] * is_climbed


def turning(run: Chain, roots: Sequence[float], losses: Sequence[float]) -> Chain:
    """Steps that descend what is differentiated, which is the loss times a sign."""
    for step, (sign, loss) in enumerate(zip(roots, losses, strict=True)):
        run.add("steps", step=step, loss=loss, root_sum=sign * loss, flags=17, accumulation=4)
        run.norm("l0.weight", "update", step, 0.01, n=4096, dot_grad=-0.1)
    return run


def test_a_sign_that_changes_in_the_middle_climbs_from_there(chain: Chains) -> None:
    losses = [*learning(40, end=1.0), *(1.0 + 0.1 * step for step in range(20))]
    result = found(
        diagnosed(turning(chain(2), [1.0] * 40 + [-1.0] * 20, losses)), "gradient_ascent"
    )
    assert (result.severity, result.first_step) == (Severity.ERROR, 40)


def test_a_sign_that_changes_is_seen_of_a_loss_of_either_sign(chain: Chains) -> None:
    """A likelihood that has come down to -1 and is thrown up to a hundred times its range."""
    losses = [*(2.0 - 0.05 * step for step in range(60)), *(300.0 + step for step in range(40))]
    run = turning(chain(2), [1.0] * 60 + [-1.0] * 40, losses)
    assert found(diagnosed(run), "gradient_ascent").first_step == 60
    # One that stays in its range may be an objective of its own.
    mild = [*losses[:60], *(-1.0 + 0.02 * step for step in range(40))]
    run = turning(chain(2), [1.0] * 60 + [-1.0] * 40, mild)
    assert "negative values" in not_checked(diagnosed(run), "gradient_ascent").reason


def test_updates_along_the_gradient_at_the_end_climb_only_if_the_loss_rises(chain: Chains) -> None:
    for end, is_climbed in ((0.1, False), (3.0, True)):
        run = chain(2).losses([*learning(40, end=0.1), *stalled(end, 20)], every=1)
        for step in range(60):
            sign = 1.0 if step >= 40 else -1.0
            run.norm("l0.weight", "update", step, 0.01, n=4096, dot_grad=0.1 * sign)
        names = {f.detector for f in diagnosed(run).findings}
        assert ("gradient_ascent" in names) is is_climbed


def test_updates_that_are_mostly_decay_do_not_climb(chain: Chains) -> None:
    run = chain(2).losses([2.3 + 0.1 * step for step in range(60)], every=1)
    for step in range(20):
        run.norm("l0.weight", "update", step, 0.01, n=4096, dot_grad=0.1, decay_ratio=0.8)
    assert "gradient_ascent" in diagnosed(run).passed


def answered(run: Chain, right: float, blank: float, *, steps: int = 6) -> Chain:
    climbing(run.losses(learning(60), every=1), -1.0)
    for step in range(steps):
        run.add("loss_graphs", step=step, call=0, right_loss=right, blank_loss=blank)
    return run


def test_right_answers_that_cost_more_than_none_are_an_error(chain: Chains) -> None:
    result = found(
        diagnosed(answered(chain(2), 0.6, 0.45), detectors=["gradient_ascent"]), "gradient_ascent"
    )
    assert result.severity is Severity.ERROR
    assert "cost 0.6, and no answer costs 0.45" in result.message


@pytest.mark.parametrize(
    ("right", "blank", "steps", "tag"),
    [
        (0.0, 2.3, 6, ""),
        (2.30001, 2.3, 6, ""),  # as much: a term that reads something else
        (0.6, 0.45, 3, ""),  # too few samples
        (0.6, 0.45, 6, "gan"),
    ],
)
def test_other_losses_of_right_answers_pass(
    chain: Chains, right: float, blank: float, steps: int, tag: str
) -> None:
    run = answered(chain(2, tags=(tag,) if tag else ()), right, blank, steps=steps)
    assert not [
        f
        for f in diagnosed(run, detectors=["gradient_ascent"]).findings
        if f.detector == "gradient_ascent"
    ]


def adversaries(
    run: Chain,
    *,
    ends: float = 2.0,
    made: float = 2.0,
    kind: str = "binary_cross_entropy_with_logits",
) -> Chain:
    """Two optimizers whose losses add up to 2 at first, and a generator that makes ones."""
    for name in ("generator", "critic"):
        run.module(name, type_="Sequential", role="other").module(f"{name}.0", depth=5)
    climbing(run, -1.0)
    for step in range(90):
        both = 2.0 + (ends - 2.0) * min(1.0, step / 45)
        run.add(
            "steps",
            step=step,
            loss=both / 3,
            root_sum=both,
            lr=0.1,
            flags=int(step % 5 == 0),
            backward_calls=2,
            optimizer_steps=2,
        )
    for step in range(0, 90, 5):
        size = made ** (step / 85)
        run.activation("generator.0", "output", step, n=64, sumsq=64 * size**2)
        run.activation("critic.0", "output", step, n=64, sumsq=64.0 * 1e6**2)
    for step in (0, 5):
        run.activation("", "logits", step, n=64, sumsq=1.0, absmax=1.0, loss_op=kind, n_units=1)
        run.activation("", "target", step, n=64, sum=32.0, sumsq=32.0, loss_op=kind)
    return run


def test_adversaries_that_both_win_want_the_same(chain: Chains) -> None:
    for ends, is_told in ((0.5, True), (0.9, False), (1.4, False)):
        diagnosis = diagnosed(adversaries(chain(2), ends=ends))
        told = [f for f in diagnosis.findings if f.detector == "gradient_ascent"]
        assert [f.severity for f in told] == ([Severity.WARNING] if is_told else [])
    other = diagnosed(adversaries(chain(2), ends=0.5, kind="mse_loss"))  # has no such bound
    assert not any(f.detector == "gradient_ascent" for f in other.findings)


def test_a_generator_that_leaves_the_data(chain: Chains) -> None:
    for made, is_told in ((400.0, True), (100.0, False)):
        diagnosis = diagnosed(adversaries(chain(2, tags=("gan",)), made=made))
        told = [f for f in diagnosis.findings if f.detector == "gradient_ascent"]
        assert [f.layer for f in told] == (["generator.0"] if is_told else [])
