"""over_regularized."""

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from judged_runs import WIDTH, Chain, Chains, diagnosed, found, learning, not_checked, stalled
from synthetic import module_id

from telemetry.diagnose.finding import Severity

ID = "over_regularized"
N = WIDTH**2


def halving(every: int) -> Callable[[int], float]:
    """Norm 8 that halves in so many steps."""
    return lambda step: 8.0 * 2.0 ** (-step / every)


def decayed(
    run: Chain,
    losses: Sequence[float],
    ratio: float,
    *,
    norm: Callable[[int], float] | None = None,
    gradient: float | Callable[[int], float] = 1.0,
    weight_decay: float | None = 0.1,
    absmax: float = 0.5,
) -> Chain:
    """Layers with this ratio of decay to gradient, sampled at every fifth step."""
    run.losses(losses, every=5)
    if weight_decay is not None:
        groups = [{"tensors": 3, "weight_decay": weight_decay}]
        run.event("optimizer", index=0, **{"class": "SGD", "groups": groups})
    for step in range(0, len(losses), 5):
        run.logits(step, absmax=absmax)
        for index in range(run.n_layers):
            name = f"l{index}.weight"
            size = gradient(step) if callable(gradient) else gradient
            run.norm(name, "gradient", step, size, n=N)
            run.norm(name, "weight", step, (norm or halving(100))(step), n=N)
            run.norm(name, "update", step, 0.01, n=N, decay_ratio=ratio)
    return run


def severity(run: Chain) -> Severity | None:
    """Of the finding, None where it passes; whatever else is found."""
    diagnosis = diagnosed(run, detectors=[ID])
    assert not diagnosis.not_checked, diagnosis.not_checked[0].reason
    return diagnosis.findings[0].severity if diagnosis.findings else None


def test_decay_as_strong_as_the_gradient_in_a_stalled_run_is_a_warning(chain: Chains) -> None:
    diagnosis = diagnosed(decayed(chain(3), stalled(2.3, 300), 1.5))
    result = found(diagnosis, ID)
    assert (result.severity, result.consequence_of) == (Severity.WARNING, None)
    assert result.value == pytest.approx(1.5)
    assert "1.5 times the gradient part" in result.message
    assert "from 0.1 to 0.01" in result.advice
    assert found(diagnosis, "loss_not_decreasing").consequence_of == ID


def test_weights_that_vanish_are_an_error_and_need_a_hundredth(chain: Chains) -> None:
    result = found(diagnosed(decayed(chain(3), stalled(2.3, 300), 50.0, norm=halving(20))), ID)
    assert result.severity is Severity.ERROR
    assert "from 0.1 to 0.001" in result.advice


@pytest.mark.parametrize(("ratio", "told"), [(0.6, False), (1.2, True)])
def test_the_limit_lies_between(chain: Chains, ratio: float, told: bool) -> None:  # noqa: FBT001
    assert (severity(decayed(chain(3), stalled(2.3, 300), ratio)) is not None) == told


def test_balance_at_the_end_of_a_run_that_learned_passes(chain: Chains) -> None:
    assert severity(decayed(chain(3), learning(300), 1.0)) is None


def test_a_decay_that_has_not_moved_the_weights_passes(chain: Chains) -> None:
    """Gradients of a dead network vanish, and any decay is stronger than nothing."""
    run = decayed(chain(3), stalled(2.3, 300), 1e6, norm=halving(10_000))
    assert severity(run) is None


def test_weights_that_were_blown_up_first_are_not_its_matter(chain: Chains) -> None:
    run = decayed(
        chain(3),
        stalled(2.3, 300),
        50.0,
        norm=lambda step: 1.0 if step < 20 else 32.0 * 2.0 ** (-step / 50),
    )
    assert severity(run) is None


def test_a_loss_that_stays_high_is_told_where_larger_weights_would_lower_it(
    chain: Chains,
) -> None:
    losses = learning(300, end=1.0)
    held = decayed(chain(3), losses, 1.1, gradient=0.2, absmax=2.0)  # 3 x 0.2 x 2 = 1.2 of 1.0
    assert severity(held) is Severity.WARNING
    little = decayed(chain(3), losses, 1.1, gradient=0.1, absmax=2.0)
    assert severity(little) is Severity.INFO
    collapsed = decayed(chain(3), losses, 1.1, gradient=0.4, absmax=2.0, norm=halving(75))
    assert severity(collapsed) is Severity.WARNING
    noise = decayed(chain(3), losses, 1.1, gradient=0.01, absmax=2.0)
    assert severity(noise) is None


def test_a_loss_that_rises_from_its_best_is_told(chain: Chains) -> None:
    losses = [*learning(150, end=0.8), *stalled(1.6, 150)]
    run = decayed(chain(3), losses, 1.1, gradient=0.0001, absmax=2.0)
    assert severity(run) is Severity.WARNING


def test_weights_that_shrink_without_decay_point_at_a_penalty(chain: Chains) -> None:
    run = decayed(chain(3), stalled(2.3, 300), 0.0, norm=halving(60), weight_decay=None)
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(295 / 60)
    assert (result.earliest, result.first_step) == (45, 180)  # 0.7 bits and 3 bits
    assert "a penalty on the weights in the loss" in result.advice


def test_a_matrix_that_is_zero_has_nothing_to_lose(chain: Chains) -> None:
    assert severity(decayed(chain(3), stalled(2.3, 300), 0.0, norm=lambda _: 0.0)) is None


def test_weights_that_are_not_finite_are_not_small(chain: Chains) -> None:
    run = decayed(chain(3), stalled(2.3, 300), 0.0, norm=lambda _: 8.0)
    for row in run.rows["tensor_stats"]:
        if row["kind"] == "weight" and int(str(row["step"])) > 100:
            row.update(sumsq=0.0, n_nan=N)
    assert severity(run) is None


def dropping(run: Chain, losses: Sequence[float], shares: Sequence[float], first: int = 3) -> Chain:
    """Dropout modules after the layers, the first at a given place in the order of execution."""
    decayed(run, losses, 0.0, norm=lambda _: 8.0)
    for index, share in enumerate(shares):
        path = f"d{index}"
        run.module(path, type_="Dropout", depth=first + index, role="other")
        run.rows["modules"][-1]["attributes"] = json.dumps({"p": share, "inplace": False})
        assert run.rows["modules"][-1]["module_id"] == module_id(path)
    return run


def test_dropout_that_leaves_a_twentieth_is_a_warning_in_a_stalled_run(chain: Chains) -> None:
    result = found(diagnosed(dropping(chain(3), stalled(2.3, 300), [0.5, 0.95])), ID)
    assert (result.severity, result.layer) == (Severity.WARNING, "d1")
    assert result.layers == ("d1", "d0")
    assert "it is 0.95" in result.advice


@pytest.mark.parametrize(
    ("shares", "told"),
    [([0.5, 0.5], False), ([0.7], False), ([0.1] * 40, False), ([0.7, 0.7, 0.7], True)],
    ids=["usual", "one of 0.7", "many small ones", "three of 0.7"],
)
def test_layers_of_dropout_count_together(chain: Chains, shares: list[float], told: bool) -> None:  # noqa: FBT001
    run = dropping(chain(3), stalled(2.3, 300), shares)
    assert (severity(run) is not None) == told


def test_dropout_of_inputs_and_in_a_run_that_learns_passes(chain: Chains) -> None:
    assert severity(dropping(chain(3), stalled(2.3, 300), [0.9], first=0)) is None
    assert severity(dropping(chain(3), learning(300), [0.95])) is None


@pytest.mark.parametrize(
    ("share", "end", "told"), [(0.95, 2.1, True), (0.75, 2.1, False), (0.95, 1.6, False)]
)
def test_dropout_is_told_of_a_run_that_gained_little(
    chain: Chains,
    share: float,
    end: float,
    told: bool,  # noqa: FBT001
) -> None:
    losses = [*learning(100, end=end), *(end + 0.01 * (step % 3) for step in range(200))]
    run = dropping(chain(3), losses, [share])
    for step in range(0, 300, 5):
        run.logits(step)
    assert (severity(run) is not None) == told


def test_a_factorisation_has_nothing_but_tables(chain: Chains) -> None:
    run = chain(0).losses(stalled(0.69, 300), every=5)
    run.parameter("users.weight", shape=(500, 16), depth=1, module_type="Embedding")
    for step in range(0, 300, 5):
        run.norm("users.weight", "weight", step, 90.0 * 2.0 ** (-step / 20), n=8000)
        run.norm("users.weight", "update", step, 0.01, n=8000, decay_ratio=100.0)
    assert severity(run) is Severity.ERROR


@pytest.mark.parametrize(("halved_in", "told"), [(40, True), (200, False)])
def test_a_short_run_is_judged_by_what_its_weights_have_lost(
    chain: Chains,
    halved_in: int,
    told: bool,  # noqa: FBT001
) -> None:
    run = decayed(chain(3), stalled(2.3, 60), 1.5, norm=halving(halved_in))
    assert severity(run) is (Severity.WARNING if told else None)


def test_decay_of_weights_that_get_no_gradient_at_all_is_not_its_matter(chain: Chains) -> None:
    assert severity(decayed(chain(3), stalled(2.3, 300), 1.5, gradient=0.0)) is None


def test_an_unsampled_run_is_not_judged(chain: Chains) -> None:
    unsampled = chain(3).losses(stalled(2.3, 300))
    assert "3 are needed" in not_checked(diagnosed(unsampled), ID).reason


def falling_and_lost(lost: float, *, noise: float = 0.1) -> list[float]:
    """From 2 to -2 in a hundred steps, and up again by a share of that."""
    down = np.linspace(2, -2, 100)
    up = np.linspace(-2, -2 + 4 * lost, 50)
    course = np.concatenate([down, up, np.full(150, up[-1])])
    return list(course + noise * np.random.default_rng(0).standard_normal(300))


@pytest.mark.parametrize(
    ("lost", "noise", "told"),
    [
        (0.6, 0.1, Severity.WARNING),
        (0.1, 0.1, Severity.INFO),
        (0.6, 4.0, Severity.INFO),
    ],
    ids=["half of its fall", "a tenth", "within the noise"],
)
def test_a_loss_of_either_sign_is_judged_by_what_it_has_lost_of_its_fall(
    chain: Chains, lost: float, noise: float, told: Severity
) -> None:
    losses = falling_and_lost(lost, noise=noise)
    assert severity(decayed(chain(3), losses, 5.0, gradient=1e-4)) is told


def test_a_loss_of_either_sign_that_larger_weights_would_lower_is_told(chain: Chains) -> None:
    """It has fallen by 4; three layers of gradient 1 and norm 2 are worth 6."""
    losses = falling_and_lost(0.0)
    assert severity(decayed(chain(3), losses, 5.0, gradient=1.0)) is Severity.WARNING
    assert severity(decayed(chain(3), losses, 5.0, gradient=0.01)) is Severity.INFO


def test_a_loss_that_is_lost_again_needs_less_shrinking(chain: Chains) -> None:
    """Weights lose 0.3 bits in 300 steps: too little in a run that has only stalled."""
    back = [4 + loss for loss in falling_and_lost(0.3)]  # from 2 up to 3.2: no third of 2.7
    lost = decayed(chain(3), back, 5.0, norm=halving(1000), gradient=1e-4)
    assert severity(lost) is Severity.WARNING
    kept = decayed(chain(3), learning(300, end=2.0), 5.0, norm=halving(1000), gradient=1e-4)
    assert severity(kept) is None
    still = decayed(chain(3), back, 5.0, norm=halving(10_000), gradient=1e-4)
    assert severity(still) is None


@pytest.mark.parametrize("losses", [stalled(2.3, 300), learning(300, start=2.3, end=1.6)])
def test_decay_of_many_times_the_gradient_needs_no_shrinking_to_speak_of(
    chain: Chains, losses: list[float]
) -> None:
    """Norms lose 0.15 bits in 300 steps, and larger weights would change nothing."""
    slowly = {"norm": halving(2000), "gradient": 1e-4}
    assert severity(decayed(chain(3), losses, 30.0, **slowly)) is Severity.WARNING
    assert severity(decayed(chain(3), losses, 4.0, **slowly)) is None


def test_decay_that_is_all_there_is_of_a_gradient_that_went_is_not_its_matter(
    chain: Chains,
) -> None:
    def vanishing(step: int) -> float:
        return 1e-4 if step < 50 else 1e-5

    losses = stalled(2.3, 300)
    run = decayed(chain(3), losses, 30.0, norm=halving(2000), gradient=vanishing)
    assert severity(run) is None


def split(run: Chain, targets: float, free: Callable[[int], float], *, steps: int = 300) -> Chain:
    """A loss of two parts, of which the best constant answer scores 1 in the first."""
    run.losses([targets + free(step) for step in range(steps)], every=5)
    for step in range(0, steps, 10):
        run.add(
            "loss_graphs",
            step=step,
            call=0,
            pair=0,
            n_terms=2,
            target_part=targets,
            free_part=free(step),
            target_part_constant=1.0,
        )
    return run


def falling(first: float, to: float) -> Callable[[int], float]:
    return lambda step: first * (1.0 if step < 50 else to)


def test_a_divergence_that_is_brought_down_in_place_of_the_data_is_a_warning(
    chain: Chains,
) -> None:
    result = found(diagnosed(split(chain(3), 0.99, falling(0.2, 0.05)), detectors=[ID]), ID)
    assert result.severity is Severity.WARNING
    assert "fell from 0.2 to 0.01, while the others are at 0.99" in result.message


@pytest.mark.parametrize(
    ("targets", "first", "to", "steps"),
    [
        (0.97, 0.2, 0.05, 300),  # the data have taught something
        (0.99, 0.09, 0.05, 300),  # it weighed little
        (0.99, 0.2, 0.2, 300),  # it is still there
        (0.99, 0.01, 40.0, 300),  # it grows with what was learned
        (0.99, 0.2, 0.05, 90),  # too short
    ],
)
def test_other_terms_beside_the_data_pass(
    chain: Chains, targets: float, first: float, to: float, steps: int
) -> None:
    run = split(chain(3), targets, falling(first, to), steps=steps)
    assert not diagnosed(run, detectors=[ID]).findings
