"""Functional activations: seen by the dispatch mode and put down to the module that called them."""

from collections.abc import Callable
from contextlib import nullcontext
from unittest.mock import Mock

import pytest
import torch
from observed import dead_units, observed_step, site, sites
from torch import Tensor, nn
from torch.nn import functional

from telemetry.capture.activations.functions import ActivationMode, module_family
from telemetry.capture.activations.statistics import Family


class Layer(nn.Module):
    """A linear layer followed by what a test puts there."""

    def __init__(self, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 6)
        self.after = after

    def forward(self, values: Tensor) -> Tensor:
        return self.after(self.linear(values))


def rows_with(after: Callable[[Tensor], Tensor]) -> set[str]:
    model = nn.Sequential(Layer(after), nn.Linear(6, 2))
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    return sites(observed_step(model, lambda: model(inputs)), "0") - {"output", "output_grad"}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (functional.relu, {"relu#0"}),
        (functional.relu_, {"relu#0"}),
        (lambda x: x.clamp(min=0), {"relu#0"}),
        (lambda x: torch.clamp_min(x, 0), {"relu#0"}),
        (functional.relu6, {"relu6#0"}),
        (functional.leaky_relu, {"leaky_relu#0"}),
        (functional.gelu, {"gelu#0"}),
        (lambda x: functional.silu(x, inplace=True), {"silu#0"}),
        (functional.elu, {"elu#0"}),
        (functional.selu, {"elu#0"}),
        (functional.mish, {"mish#0"}),
        (torch.tanh, {"tanh#0"}),
        (torch.sigmoid, {"sigmoid#0"}),
        (lambda x: torch.relu(x) + torch.relu(-x), {"relu#0", "relu#1"}),
        (lambda x: x.clamp(min=-1), set()),
        (lambda x: x.clamp(min=0.5), set()),
        (functional.hardtanh, set()),
        (lambda x: x.softmax(-1), set()),
        (lambda x: functional.glu(torch.cat([x, x], 1)), {"glu#0"}),
        (functional.hardswish, {"hardswish#0"}),
        (lambda x: x * torch.sigmoid(x), {"silu#0"}),
        (lambda x: torch.sigmoid(x) * x, {"silu#0"}),
        (lambda x: x * torch.sigmoid(1.702 * x), set()),
        (lambda x: x.flip(1) * torch.sigmoid(x), set()),
        (lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.04 * x**3))), set()),
        (lambda x: 2 * torch.sigmoid(x) - 1, {"sigmoid#0"}),
        (lambda x: functional.dropout(torch.sigmoid(x), 0.5), {"sigmoid#0"}),
        (lambda x: torch.sigmoid(x) * torch.sigmoid(x).detach(), {"sigmoid#0", "sigmoid#1"}),
        (lambda x: torch.tanh(x) + 1, {"tanh#0"}),
    ],
)
def test_a_functional_activation_is_a_site_of_the_module_that_called_it(
    after: Callable[[Tensor], Tensor], expected: set[str]
) -> None:
    assert rows_with(after) == expected


def test_statistics_are_those_of_the_result() -> None:
    model = Layer(functional.relu)
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    row = site(observed_step(model, lambda: model(inputs)), "", "relu#0")
    with torch.no_grad():
        expected = torch.relu(model.linear(inputs))
    assert row["n"] == 64 * 6
    assert row["n_units"] == 6
    assert row["sum"] == pytest.approx(expected.sum().item(), rel=1e-5)
    assert row["sumsq"] == pytest.approx(expected.square().sum().item(), rel=1e-5)
    assert (row["min"], row["max"]) == (0.0, pytest.approx(expected.max().item()))
    assert row["n_zero"] == int((expected == 0).sum())
    assert row["training"] is True
    assert row["dtype"] == "float32"


def test_a_unit_that_a_functional_relu_never_lets_through_is_dead() -> None:
    model = Layer(functional.relu)
    with torch.no_grad():
        model.linear.bias[2] = -100.0
    row = site(observed_step(model, lambda: model(torch.ones(3, 4))), "", "relu#0")
    assert 2 in dead_units(row)


def test_an_activation_module_is_not_counted_twice() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Tanh())
    rows = observed_step(model, lambda: model(torch.randn(3, 4)))
    assert sites(rows, "1") == {"output", "output_grad"}
    assert sites(rows, "2") == {"output", "output_grad"}
    assert sites(rows, "") == {"input", "logits"}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_gates_of_recurrent_modules_are_no_sites(kind: type[nn.Module]) -> None:
    model = nn.Sequential(kind(4, 6))
    rows = observed_step(model, lambda: model(torch.randn(5, 2, 4))[0])
    assert sites(rows, "0") == {"output", "output_grad", "input_grad"}


def test_a_loop_in_one_forward_gives_a_bounded_number_of_sites() -> None:
    def many(values: Tensor) -> Tensor:
        for _ in range(50):
            values = torch.tanh(values)
        return values

    assert rows_with(many) == {f"tanh#{k}" for k in range(16)}


def test_a_module_called_twice_has_its_sites_merged() -> None:
    model = Layer(functional.relu)
    row = site(
        observed_step(model, lambda: model(torch.ones(3, 4)) + model(torch.ones(3, 4))),
        "",
        "relu#0",
    )
    assert row["n"] == 2 * 3 * 6


def test_operations_are_seen_under_autocast() -> None:
    model = Layer(functional.relu)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = observed_step(model, lambda: model(torch.randn(3, 4)))
    assert site(rows, "", "relu#0")["dtype"] == "bfloat16"
    assert site(rows, "linear")["dtype"] == "bfloat16"


def test_families_of_modules() -> None:
    class NewGELUActivation(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values * torch.tanh(values)

    class SwishNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

    assert module_family(nn.ReLU()) is Family.RELU
    assert module_family(nn.LeakyReLU()) is Family.SMOOTH
    assert module_family(nn.Tanh()) is Family.TANH
    assert module_family(NewGELUActivation()) is Family.SMOOTH
    assert module_family(SwishNet()) is None
    assert module_family(nn.Linear(2, 2)) is None


def test_the_inner_tanh_of_a_librarys_gelu_is_no_site() -> None:
    class NewGELUActivation(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return 0.5 * values * (1 + torch.tanh(values))

    model = nn.Sequential(nn.Linear(4, 6), NewGELUActivation())
    rows = observed_step(model, lambda: model(torch.randn(3, 4)))
    assert sites(rows, "1") == {"output", "output_grad"}
    assert site(rows, "1")["n_dead"] is not None


def test_the_mode_changes_no_result_and_charges_what_it_costs() -> None:
    events = Mock()
    mode = ActivationMode(events, nullcontext())
    values = torch.randn(3, 3, requires_grad=True)
    with mode:
        result = torch.tanh(torch.relu(values))
    assert torch.equal(result, torch.tanh(torch.relu(values)))
    assert [call.args[0] for call in events.activation.call_args_list] == ["relu", "tanh"]
    assert mode.cost_s > 0


def test_a_swish_written_by_hand_is_measured_as_one() -> None:
    model = Layer(lambda x: x * torch.sigmoid(x))
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    row = site(observed_step(model, lambda: model(inputs)), "", "silu#0")
    with torch.no_grad():
        expected = functional.silu(model.linear(inputs))
    assert row["sumsq"] == pytest.approx(expected.square().sum().item(), rel=1e-5)
    assert (row["n_saturated"], row["n_dead"]) == (None, 0)
