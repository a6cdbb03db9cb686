"""representation_collapse on synthetic spreads of outputs."""

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked

from telemetry.diagnose.finding import Severity

ID = "representation_collapse"


def with_spread(  # noqa: PLR0913 - the parts of a signal
    run: Chain,
    last: float,
    *,
    first: float = 1.0,
    cosine: float = 0.999,
    growth: float = 1.0,
    units: int = 16,
    layers: tuple[str, ...] = ("l2",),
    steps: range = range(0, 120, 4),
) -> Chain:
    """A run that learns; from step 20 on the rows of some layers have another spread."""
    run.losses(learning(120), every=4)
    for step in steps:
        for layer in ("l0", "l1", "l2"):
            fallen = step >= 20 and layer in layers
            run.activation(
                layer,
                "output",
                step,
                n_units=units,
                unit_spread=last if fallen else first,
                pair_cosine=cosine if fallen else 1 - first**2,
                sumsq=6400.0 * (growth**2 if fallen else 1.0),
            )
    return run


@pytest.mark.parametrize(
    ("spread", "severity"), [(0.08, Severity.WARNING), (0.015, Severity.ERROR)]
)
def test_a_last_layer_that_coincides(chain: Chains, spread: float, severity: Severity) -> None:
    """The loss falls, and that clears nothing."""
    result = found(diagnosed(with_spread(chain(3), spread)), ID)
    assert result.severity is severity
    assert result.layer == "l2"
    assert result.first_step == 20
    assert result.value == pytest.approx(spread)


def test_the_first_layer_that_collapsed_with_the_last_is_named(chain: Chains) -> None:
    result = found(diagnosed(with_spread(chain(3), 0.05, layers=("l1", "l2"))), ID)
    assert result.layers == ("l1", "l2")


def test_a_loss_with_labels_makes_it_information(chain: Chains) -> None:
    run = with_spread(chain(3), 0.01)
    for step in range(0, 120, 4):
        run.logits(step)
    assert found(diagnosed(run), ID).severity is Severity.INFO


def test_a_loss_without_targets_whose_constant_is_known_is_no_excuse(chain: Chains) -> None:
    """Of two views that have to agree a constant answer is the best there is."""
    run = with_spread(chain(3), 0.01)
    for step, loss in enumerate(learning(120)):
        if step % 4 == 0:
            run.add("loss_graphs", step=step, call=0, root=loss, constant_loss=0.1)
    assert found(diagnosed(run), ID).severity is Severity.ERROR


def test_a_target_that_a_loss_by_hand_reads_makes_it_information(chain: Chains) -> None:
    run = with_spread(chain(3), 0.01)
    for step, loss in enumerate(learning(120)):
        if step % 4 == 0:
            run.add(
                "loss_graphs", step=step, call=0, pair=0, operation="gather", root=loss,
                constant_loss=2.3,
            )  # fmt: skip
    assert found(diagnosed(run), ID).severity is Severity.INFO


def test_adversaries_make_it_information(chain: Chains) -> None:
    assert (
        found(diagnosed(with_spread(chain(3, tags=("gan",)), 0.01)), ID).severity is Severity.INFO
    )


@pytest.mark.parametrize(
    "case",
    [
        {"last": 0.2},
        {"last": 0.05, "cosine": 0.95},
        {"last": 0.05, "first": 0.1},
        {"last": 0.02, "growth": 50.0},
        {"last": 0.05, "layers": ("l0", "l1")},
    ],
    ids=["spread", "angles", "from the start", "large target", "hidden layers alone"],
)
def test_what_is_no_collapse_passes(chain: Chains, case: dict[str, float]) -> None:
    assert ID in diagnosed(with_spread(chain(3), **case), detectors=[ID]).passed


def test_few_components_are_not_checked(chain: Chains) -> None:
    run = with_spread(chain(3), 0.01, units=7)
    assert "8 components" in not_checked(diagnosed(run), ID).reason


def test_two_samples_are_too_few(chain: Chains) -> None:
    run = with_spread(chain(3), 0.01, steps=range(0, 8, 4))
    assert "2 samples" in not_checked(diagnosed(run), ID).reason


def compared(run: Chain, constant: float, *, detached: bool = False, last: float = 0.5) -> Chain:
    """A loss that compares outputs with outputs, and costs so much of any constant answer."""
    with_spread(run, 0.5)
    for step in range(0, 40, 4):
        run.add(
            "loss_graphs",
            step=step,
            call=0,
            root=0.5 if step < 20 else last,
            any_constant_loss=constant,
            has_detached=detached,
        )
    return run


def test_a_loss_that_any_constant_answer_makes_zero_is_a_warning(chain: Chains) -> None:
    result = found(diagnosed(compared(chain(3), 4e-4), detectors=[ID]), ID)
    assert result.severity is Severity.WARNING
    assert "nothing in the loss keeps examples apart" in result.message


@pytest.mark.parametrize(("constant", "detached"), [(6e-4, False), (1.0, False), (0.0, True)])
def test_a_margin_or_a_stop_gradient_keeps_examples_apart(
    chain: Chains,
    constant: float,
    detached: bool,  # noqa: FBT001
) -> None:
    assert ID in diagnosed(compared(chain(3), constant, detached=detached), detectors=[ID]).passed


def test_a_loss_that_falls_below_that_of_a_constant_keeps_examples_apart(chain: Chains) -> None:
    run = compared(chain(3), 0.0, last=-0.1)
    assert ID in diagnosed(run, detectors=[ID]).passed
