"""unchanged_parameters."""

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity


def trained(run: Chain, name: str, *, moves: bool = True, gradient: float | None = 0.1) -> Chain:
    for step in range(0, 60, 6):
        run.norm(name, "weight", step, 5.0 + (0.01 * step if moves else 0), n=4096)
        run.norm(name, "update", step, 0.01 if moves else 0.0, n=4096)
        if gradient is None:
            run.norm(name, "gradient", step, 0.0, n=4096, n_sampled=0, sumsq=None, scale=None)
        else:
            run.norm(name, "gradient", step, gradient, n=4096)
    return run


def forwards(run: Chain, *layers: str) -> Chain:
    for step in range(0, 60, 6):
        for layer in layers:
            run.activation(layer, "output", step)
    return run


def test_moving_parameters_pass(chain: Chains) -> None:
    run = chain(3).losses(learning(60), every=6)
    for index in range(3):
        trained(run, f"l{index}.weight")
    assert "unchanged_parameters" in diagnosed(run).passed


def test_a_layer_in_no_optimizer_is_found(chain: Chains) -> None:
    run = chain(2).losses(learning(60), every=6)
    run.module("head", depth=9).parameter("head.weight", shape=(64, 64), depth=9, lr_group=None)
    for name in ("l0.weight", "l1.weight"):
        trained(run, name)
    trained(run, "head.weight", moves=False)
    result = found(diagnosed(run), "unchanged_parameters")
    assert result.severity is Severity.ERROR
    assert result.layer == "head.weight"
    assert "in no optimizer" in result.message


def test_training_the_head_alone_is_information(chain: Chains) -> None:
    run = chain(0).losses(learning(60), every=6)
    for index, group in enumerate((None, None, 0)):
        run.module(f"m{index}", depth=index + 1)
        run.parameter(f"m{index}.weight", shape=(64, 64), depth=index + 1, lr_group=group)
        trained(run, f"m{index}.weight", moves=group is not None)
    assert found(diagnosed(run), "unchanged_parameters").severity is Severity.INFO


@pytest.mark.parametrize(("peak", "severity"), [(1.73, "error"), (3.5, "info")])
def test_layers_left_out_that_hold_their_initial_values_are_no_probing(
    chain: Chains, peak: float, severity: str
) -> None:
    """Values spread evenly up to a bound were drawn; what was trained has longer tails."""
    run = chain(0).losses(learning(60), every=6)
    for index, group in enumerate((None, 0)):
        run.module(f"m{index}", depth=index + 1)
        run.parameter(f"m{index}.weight", shape=(64, 64), depth=index + 1, lr_group=group)
        trained(run, f"m{index}.weight", moves=group is not None)
    for row in run.rows["tensor_stats"]:
        if row["kind"] == "weight":
            row["absmax"] = peak * 5.0 / 64
    assert found(diagnosed(run), "unchanged_parameters").severity == severity


@pytest.mark.parametrize("tags", [(), ("frozen:m1",)])
def test_a_layer_that_was_unfrozen_and_forgotten_is_found(
    chain: Chains, tags: tuple[str, ...]
) -> None:
    """It gets gradients from some step on and stays: nobody asks for that to leave it alone."""
    run = chain(0, tags=tags).losses(learning(60), every=6)
    for index, group in enumerate((None, None, 0)):
        run.module(f"m{index}", depth=index + 1)
        run.parameter(
            f"m{index}.weight",
            shape=(64, 64),
            depth=index + 1,
            lr_group=group,
            trainable=group is not None,
        )
    trained(run, "m1.weight", moves=False)
    trained(run, "m2.weight")
    if tags:
        assert "unchanged_parameters" in diagnosed(run).passed
        return
    result = found(diagnosed(run), "unchanged_parameters")
    assert (result.severity, result.layers) == (Severity.ERROR, ("m1.weight",))
    assert "frozen at the start" in result.message


@pytest.mark.parametrize(
    ("gradient", "waiting"), [(0.0, ("m.lora_A", "m.lora_B")), (0.1, ("m.lora_A",))]
)
def test_factors_that_are_both_zero_wait_for_each_other(
    chain: Chains, gradient: float, waiting: tuple[str, ...]
) -> None:
    run = chain(0).losses(stalled(2.3, 120), every=6)
    for name, own in (("lora_A", 0.0), ("lora_B", gradient)):
        run.parameter(f"m.{name}", shape=(64, 64), depth=1)
        for step in range(0, 60, 6):
            run.norm(f"m.{name}", "weight", step, 0.0, n=4096)
            run.norm(f"m.{name}", "update", step, own, n=4096)
            run.norm(f"m.{name}", "gradient", step, own, n=4096)
    result = found(diagnosed(run), "unchanged_parameters")
    assert (result.severity, result.layers) == (Severity.ERROR, waiting)
    assert "multiplied with" in result.message


def test_an_optimizer_of_another_model_is_found(chain: Chains) -> None:
    run = chain(0).losses(stalled(2.3, 60), every=6)
    run.module("", depth=0, role="other")
    for index in range(2):
        run.module(f"m{index}", depth=index + 1)
        run.parameter(f"m{index}.weight", shape=(64, 64), depth=index + 1, lr_group=None)
        trained(run, f"m{index}.weight", moves=False)
    run.parameter("optimizer.0.0", shape=(64, 64), depth=0)
    result = found(diagnosed(run), "unchanged_parameters")
    assert result.severity is Severity.ERROR
    assert "1 tensors that do not belong to the model" in result.message


def test_a_cut_graph_is_found_at_the_cut(chain: Chains) -> None:
    run = forwards(chain(4).losses(learning(60), every=6), "l0", "l1", "l2", "l3")
    for index in range(4):
        trained(run, f"l{index}.weight", moves=index > 1, gradient=None if index < 2 else 0.1)
    result = found(diagnosed(run), "unchanged_parameters")
    assert result.severity is Severity.ERROR
    assert result.layer == "l1.weight"
    assert "cut somewhere between l1 and l2" in result.message


def test_a_branch_without_gradient_is_information(chain: Chains) -> None:
    run = forwards(chain(4).losses(learning(60), every=6), "l0", "l1", "l2", "l3")
    for index in range(4):
        trained(run, f"l{index}.weight", moves=index != 2, gradient=None if index == 2 else 0.1)
    result = found(diagnosed(run), "unchanged_parameters")
    assert (result.severity, result.layer) == (Severity.INFO, "l2.weight")


def optimizer(run: Chain) -> Chain:
    run.event("optimizer", index=0, **{"class": "Adam", "groups": [{"tensors": 2}]})
    return run


def test_an_optimizer_that_steps_other_tensors_is_found(chain: Chains) -> None:
    run = optimizer(chain(2).losses(learning(60), every=6))
    trained(run, "l0.weight", moves=False)
    trained(run, "l1.weight")
    result = found(diagnosed(run), "unchanged_parameters")
    assert result.severity is Severity.ERROR
    assert "no element changed" in result.message


def test_updates_too_small_for_float32_are_not_blamed(chain: Chains) -> None:
    run = optimizer(chain(2).losses(learning(60), every=6))
    trained(run, "l0.weight", moves=False, gradient=1e-9)
    trained(run, "l1.weight")
    assert "unchanged_parameters" in diagnosed(run).passed


def test_a_rate_of_zero_moves_nothing(chain: Chains) -> None:
    run = chain(2).losses(learning(60), every=6, lr=0.0)
    trained(run, "l0.weight", moves=False)
    assert "above zero" in not_checked(diagnosed(run), "unchanged_parameters").reason


def test_a_group_with_a_rate_of_zero_is_frozen(chain: Chains) -> None:
    run = optimizer(chain(1).losses(learning(60), every=6))
    run.parameter("l0.extra", shape=(64, 64), depth=1, lr_group=1)
    run.metric("lr/1", {0: 0.0}, phase="train")
    trained(trained(run, "l0.weight"), "l0.extra", moves=False)
    assert "unchanged_parameters" in diagnosed(run).passed


def test_gradients_beyond_what_can_be_squared_are_not_blamed(chain: Chains) -> None:
    """Adam divides them by an infinity."""
    run = optimizer(chain(2).losses(learning(60), every=6))
    trained(run, "l0.weight", moves=False, gradient=1e22)
    trained(run, "l1.weight")
    assert "unchanged_parameters" in diagnosed(run).passed


def test_a_first_group_with_a_rate_of_zero_hides_no_cut_in_another(chain: Chains) -> None:
    run = forwards(chain(2).losses(stalled(2.3, 150), every=6, lr=0.0), "l0", "l1", "side")
    run.module("side", depth=9)
    run.parameter("side.weight", shape=(64, 64), depth=9, lr_group=1)
    run.parameter("l1.extra", shape=(64, 64), depth=3, lr_group=1)
    run.metric("lr/1", {0: 0.1}, phase="train")
    for name in ("l0.weight", "l1.weight"):
        trained(run, name, moves=False)
    trained(run, "l1.extra")
    trained(run, "side.weight", moves=False, gradient=None)
    result = found(diagnosed(run), "unchanged_parameters")
    assert (result.severity, result.layer) == (Severity.WARNING, "side.weight")


def zeroed(chain: Chains, *, weight: float, bias: float, peak: float = 1.73) -> Chain:
    """The first of three layers gets these gradients, the others 0.1; its outputs get 1."""
    run = chain(3).losses(learning(60), every=6)
    run.parameter("l0.bias", shape=(64,), depth=1)
    for step in range(0, 60, 6):
        run.activation("l0", "output_grad", step, sumsq=1.0)
        for name, n, gradient in (
            ("l0.weight", 4096, weight),
            ("l0.bias", 64, bias),
            ("l1.weight", 4096, 0.1),
            ("l2.weight", 4096, 0.1),
        ):
            run.norm(name, "weight", step, 5.0 + 0.01 * step, n=n, absmax=peak * 5.0 / n**0.5)
            run.norm(name, "gradient", step, gradient, n=n)
            run.norm(name, "update", step, 0.01, n=n)
    return run


@pytest.mark.parametrize(("peak", "severity"), [(1.73, "error"), (3.5, "info")])
def test_a_gradient_that_is_set_to_zero_is_found(chain: Chains, peak: float, severity: str) -> None:
    """Weights that were trained before may be kept so on purpose; decay moves them all the same."""
    result = found(
        diagnosed(zeroed(chain, weight=0.0, bias=0.0, peak=peak)), "unchanged_parameters"
    )
    assert (result.severity, result.layer) == (severity, "l0.weight")
    assert "something sets it to zero after the backward pass" in result.message


def test_weights_behind_an_input_of_zero_get_no_gradient(chain: Chains) -> None:
    run = zeroed(chain, weight=0.0, bias=0.1)
    assert "unchanged_parameters" in diagnosed(run).passed


@pytest.mark.parametrize(("answer", "told"), [(1.0, True), (0.0, False)])
def test_a_layer_without_a_bias_that_answers_has_an_input(
    chain: Chains, answer: float, *, told: bool
) -> None:
    run = zeroed(chain, weight=0.0, bias=0.0)
    del run.rows["tensors"][-3:]  # the bias
    for step in range(0, 60, 6):
        run.activation("l0", "output", step, sumsq=answer)
    result = diagnosed(run, detectors=["unchanged_parameters"])
    assert bool(result.findings) is told


@pytest.mark.parametrize(("level", "severity"), [(2.3, "warning"), (None, "info")])
def test_a_layer_that_answers_and_gets_no_gradient_is_a_cause_where_nothing_is_learned(
    chain: Chains, level: float | None, severity: str
) -> None:
    losses = learning(150) if level is None else stalled(level, 150)
    run = forwards(chain(2).losses(losses, every=6), "l0", "l1", "side")
    run.module("side", depth=9).parameter("side.weight", shape=(64, 64), depth=9)
    for name in ("l0.weight", "l1.weight"):
        trained(run, name)
    trained(run, "side.weight", moves=False, gradient=None)
    result = found(diagnosed(run), "unchanged_parameters")
    assert (result.severity, result.layer) == (severity, "side.weight")
