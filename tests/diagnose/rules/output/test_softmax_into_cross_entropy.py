"""softmax_into_cross_entropy on synthetic inputs of losses."""

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked

from telemetry.diagnose.finding import Severity

ID = "softmax_into_cross_entropy"


def given(run: Chain, op: str, *, samples: int = 4, classes: int = 10, **values: object) -> Chain:
    """A run that learns, whose loss was given inputs of these statistics."""
    run.losses(learning(120), every=4)
    for index in range(samples):
        run.activation(
            "", "logits", 4 * index, n=64 * classes, loss_op=op, n_units=classes, **values
        )
    return run


def test_probabilities_in_cross_entropy_are_an_error_although_the_run_learns(chain: Chains) -> None:
    run = chain(3).module("soft", type_="Softmax", depth=9, role="other")
    result = found(diagnosed(given(run, "cross_entropy", row_sum_error=1e-7)), ID)
    assert result.severity is Severity.ERROR
    assert result.layer == "soft"
    assert (result.first_step, result.last_step) == (0, 12)
    assert "all of 4 samples" in result.message
    assert result.consequence_of is None


def test_a_softmax_of_attention_is_not_named(chain: Chains) -> None:
    run = chain(3).module("attention.soft", type_="Softmax", depth=2, role="other")
    result = found(diagnosed(given(run, "cross_entropy", row_sum_error=4e-3)), ID)
    assert result.layer is None


@pytest.mark.parametrize(
    ("op", "values", "severity", "words"),
    [
        ("nll_loss", {"row_sum_error": 12.0, "log_partition": 2.3}, "error", "raw logits"),
        ("nll_loss", {"row_sum_error": 1e-6, "log_partition": 2.4}, "warning", "probabilities"),
        ("cross_entropy", {"log_partition": 1e-5}, "info", "does not change"),
    ],
)
def test_each_mistake_has_its_severity(
    chain: Chains, op: str, values: dict[str, object], severity: str, words: str
) -> None:
    result = found(diagnosed(given(chain(3), op, **values)), ID)
    assert result.severity == severity
    assert words in result.message


@pytest.mark.parametrize(
    ("op", "values"),
    [
        ("cross_entropy", {"log_partition": 2.3}),
        ("cross_entropy", {"row_sum_error": 0.5}),
        ("nll_loss", {"row_sum_error": 31.0, "log_partition": 0.01}),  # a clamp before the log
        ("nll_loss", {"row_sum_error": 31.0, "log_partition": -0.7}),  # mass left out
        ("binary_cross_entropy_with_logits", {"min": 0.2, "max": 0.8}),  # small logits
        ("mse_loss", {"row_sum_error": 0.0}),
    ],
)
def test_what_belongs_there_is_not_flagged(
    chain: Chains, op: str, values: dict[str, object]
) -> None:
    run = given(chain(3), op, **values)
    if op == "mse_loss":
        given(run, "cross_entropy", log_partition=2.3)
    assert ID in diagnosed(run, detectors=[ID]).passed


def test_one_class_has_no_softmax_to_speak_of(chain: Chains) -> None:
    run = given(chain(3), "cross_entropy", classes=1, row_sum_error=0.0)
    assert "was seen in 0 samples" in not_checked(diagnosed(run), ID).reason


def test_a_sigmoid_whose_output_the_loss_reads_is_named(chain: Chains) -> None:
    run = chain(3).module("squash", type_="Sigmoid", depth=9, role="activation")
    given(run, "binary_cross_entropy_with_logits", classes=2, min=0.125, max=0.875)
    for step in range(0, 16, 4):
        run.activation("squash", "output", step, min=0.125, max=0.875)
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.WARNING
    assert result.layer == "squash"


@pytest.mark.parametrize(("low", "high"), [(0.25, 0.875), (0.125, 0.75)])
def test_a_gate_elsewhere_is_no_sigmoid_before_the_loss(
    chain: Chains, low: float, high: float
) -> None:
    run = chain(3).module("gate", type_="Sigmoid", depth=2, role="activation")
    given(run, "binary_cross_entropy_with_logits", classes=2, min=0.125, max=0.875)
    for step in range(0, 16, 4):
        run.activation("gate", "output", step, min=low, max=high)
    assert ID in diagnosed(run, detectors=[ID]).passed


@pytest.mark.parametrize(
    ("highest", "told"), [([0.97] * 4, True), ([0.97, 0.97, 0.97, 1.2], False)]
)
def test_values_that_fill_the_unit_interval_come_from_a_sigmoid_outside(
    chain: Chains,
    highest: list[float],
    told: bool,  # noqa: FBT001
) -> None:
    run = chain(3).losses(learning(120), every=4)
    op = "binary_cross_entropy_with_logits"
    for index, high in enumerate(highest):
        run.activation("", "logits", 4 * index, n=256, loss_op=op, n_units=4, min=0.03, max=high)
    result = diagnosed(run, detectors=[ID])
    assert (ID in result.passed) != told
    assert [finding.detector for finding in result.findings] == [ID] * told


def test_one_odd_sample_is_no_rule(chain: Chains) -> None:
    run = given(chain(3), "cross_entropy", row_sum_error=0.0)
    run.activation("", "logits", 40, n=640, loss_op="cross_entropy", n_units=10, log_partition=3.0)
    assert ID in diagnosed(run, detectors=[ID]).passed


def chained(run: Chain, chains: str | None, *, steps: int = 10) -> Chain:
    run.losses(learning(120), every=4)
    for step in range(steps):
        run.add("loss_graphs", step=4 * step, call=0, pair=0, root=1.0, chains=chains)
    return run


@pytest.mark.parametrize(
    ("chains", "severity", "words"),
    [
        (": linear softmax softmax log", "error", "a second softmax"),
        (": linear softmax log_softmax", "error", "a second softmax"),
        (": linear softmax sigmoid ratio", "error", "a sigmoid is taken"),
        (": linear sigmoid log_sigmoid", "error", "a sigmoid is taken"),
        (": linear log", "warning", "the logarithm is taken of raw scores"),
        (": linear ratio", "warning", "divides by a sum of raw scores"),
        (": linear ctc_loss", "error", "ctc_loss gets"),
        (": linear softmax kl_div", "error", "kl_div gets"),
        (": linear target", "error", "the wrong way round"),
    ],
)
def test_functions_in_a_row_that_cannot_be_meant(
    chain: Chains, chains: str, severity: str, words: str
) -> None:
    result = found(diagnosed(chained(chain(3), chains), detectors=[ID]), ID)
    assert result.severity == severity
    assert words in result.message


@pytest.mark.parametrize(
    "chains",
    [
        ": linear softmax log",
        ": linear softmax ratio",
        ": linear sigmoid ratio",
        ": linear log_softmax exp",
        ": linear log_softmax ctc_loss",
        ": softmax log ctc_loss",
        ": linear log_softmax kl_div",
        "a: linear softmax; b: linear sigmoid log",
    ],
)
def test_functions_in_a_row_that_belong_together(chain: Chains, chains: str) -> None:
    assert ID in diagnosed(chained(chain(3), chains), detectors=[ID]).passed


def test_a_loss_without_any_is_not_checked(chain: Chains) -> None:
    assert "0 samples" in not_checked(diagnosed(chained(chain(3), None), detectors=[ID]), ID).reason


def test_a_softmax_between_layers_is_a_warning(chain: Chains) -> None:
    run = chain(3).losses(learning(120), every=4)
    pair = {"first": "l0.weight", "second": "l1.weight", "n_in": 8, "n_between": 64, "n_out": 8}
    run.event("softmax_between_layers", pairs=[pair])
    result = found(diagnosed(run, detectors=[ID]), ID)
    assert (result.severity, result.layer) == (Severity.WARNING, "l0")
    assert "its 64 outputs sum to 1" in result.message
