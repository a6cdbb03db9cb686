"""What the forwards of a sampled step leave in `module_stats`, against slow references."""

import numpy as np
import pytest
import torch
from observed import (
    observed_step,
    profile,
    rows_of,
    site,
    sites,
)
from torch import Tensor, nn
from torch.nn import functional

from telemetry.capture.activations.observer import ModuleObserver


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- which outputs --------------------------------------------------------------------------------


class Wrapped(nn.Module):
    """Outputs of several kinds, a parameter of its own and an activation without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(4))
        self.recurrent = nn.LSTM(4, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.pick = nn.Identity()
        self.count = Counting()

    def forward(self, *, tokens: Tensor) -> dict[str, Tensor]:
        hidden, _ = self.recurrent(tokens + self.position)
        hidden, _ = self.attention(hidden, hidden, hidden)
        return {"steps": self.count(hidden), "hidden": self.pick(hidden)}


class Counting(nn.Module):
    """Returns integers."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.zeros(values.shape[0], dtype=torch.int64)


def test_leaves_and_owners_of_parameters_are_observed() -> None:
    model = Wrapped()
    rows = observed_step(model, lambda: model(tokens=normal(5, 2, 4))["hidden"])
    observed = {path for path, name, _ in rows if name == "output"}
    assert observed == {"recurrent", "attention"}
    assert site(rows, "recurrent")["n"] == 5 * 2 * 4
    assert {"output_grad"} <= sites(rows, "recurrent")


def test_parametrized_layers_are_leaves() -> None:
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))
    rows = observed_step(model, lambda: model(normal(2, 3)).sum())
    assert {path for path, name, _ in rows if name == "output"} == {"0"}


def test_an_output_without_elements_or_real_values_is_left_out_and_told() -> None:
    class Complex(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return torch.complex(values, values)

    class Empty(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values[:0]

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.complex, self.empty = nn.Linear(2, 2), Complex(), Empty()

        def forward(self, values: Tensor) -> Tensor:
            hidden = self.linear(values)
            return self.complex(hidden).abs().sum() + self.empty(hidden).sum()

    model = Both()
    observer = ModuleObserver(model)
    rows = observed_step(model, lambda: model(normal(3, 2)), observer=observer)
    assert {path for path, name, _ in rows if name == "output"} == {"linear"}
    # Nothing is empty because somebody failed to look.
    assert observer.not_observed == {"complex": "outputs of type complex64 are not supported"}


def test_outputs_of_other_types_are_told() -> None:
    class Other(Tensor):
        pass

    class ToOther(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values.as_subclass(Other)

    class ToSparse(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values.to_sparse()

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.other, self.sparse = nn.Linear(2, 2), ToOther(), ToSparse()

        def forward(self, values: Tensor) -> Tensor:
            hidden = self.linear(values)
            self.other(hidden)
            return self.sparse(hidden).to_dense()

    model = Hidden()
    observer = ModuleObserver(model)
    rows = observed_step(model, lambda: model(normal(3, 2)), observer=observer)
    assert {path for path, name, _ in rows if name == "output"} == {"linear"}
    assert observer.not_observed == {
        "other": "outputs of type Other are not supported",
        "sparse": "nested and sparse outputs are not supported",
    }


def test_the_mode_of_each_module_is_recorded() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))
    model[1].eval()
    rows = observed_step(model, lambda: model(normal(4, 2)).sum())
    assert [site(rows, path)["training"] for path in ("0", "1", "2")] == [True, False, True]


# --- inputs ---------------------------------------------------------------------------------------


def test_the_input_has_a_standard_deviation_per_feature() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    inputs = normal(40, 3) * torch.tensor([1.0, 100.0, 0.0]) + torch.tensor([0.0, 1e4, 5.0])
    row = site(observed_step(model, lambda: model(inputs).sum()), "", "input")
    assert row["n_profile"] == 3
    np.testing.assert_allclose(profile(row), inputs.std(0, correction=0), rtol=1e-4, atol=1e-6)


def test_features_of_images_are_their_channels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3))
    images = normal(2, 3, 8, 8) * torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    row = site(observed_step(model, lambda: model(images).sum()), "", "input")
    expected = images.std((0, 2, 3), correction=0)
    np.testing.assert_allclose(profile(row), expected, rtol=1e-4)


def test_micro_batches_give_the_deviation_of_all_rows_together() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    first, second = normal(8, 3), normal(24, 3, seed=1) + 3
    rows = observed_step(model, lambda: model(first).sum() + model(second).sum())
    row = site(rows, "", "input")
    expected = torch.cat([first, second]).std(0, correction=0)
    np.testing.assert_allclose(profile(row), expected, rtol=1e-5)
    assert row["n"] == 32 * 3


def test_wide_features_and_token_ids_have_no_profile() -> None:
    wide = nn.Sequential(nn.Linear(5000, 2))
    rows = observed_step(wide, lambda: wide(normal(2, 5000)).sum())
    assert site(rows, "", "input")["profile"] is None
    embedding = nn.Sequential(nn.Embedding(7, 2))
    rows = observed_step(embedding, lambda: embedding(torch.tensor([1, 2])).sum())
    assert "input" not in sites(rows, "")


# --- gradients ------------------------------------------------------------------------------------


def test_output_gradients_are_those_of_the_outputs() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 2))
    inputs = normal(16, 4)

    def loss() -> Tensor:
        return functional.mse_loss(model(inputs), torch.ones(16, 2))

    rows = observed_step(model, loss)
    hidden = model[0](inputs).detach().requires_grad_()
    active = torch.relu(hidden)
    active.retain_grad()
    functional.mse_loss(model[2](active), torch.ones(16, 2)).backward()
    assert active.grad is not None
    assert hidden.grad is not None
    for path, gradient in (("0", hidden.grad), ("1", active.grad)):
        row = site(rows, path, "output_grad")
        assert row["sumsq"] == pytest.approx(gradient.square().sum().item(), rel=1e-5)
        assert row["n"] == gradient.numel()


def test_gradients_of_micro_batches_are_added_up() -> None:
    model = nn.Sequential(nn.Linear(4, 6))
    observer = ModuleObserver(model)
    observer.begin(0)
    for _ in range(3):
        model(normal(5, 4)).sum().backward()
    row = site(rows_of(model, observer.end()), "0", "output_grad")
    assert (row["n"], row["sumsq"]) == (3 * 30, pytest.approx(90.0))


def test_a_gradient_that_arrives_after_its_step_is_left_out() -> None:
    model = nn.Sequential(nn.Linear(4, 6))
    observer = ModuleObserver(model)
    observer.begin(0)
    late = model(normal(5, 4)).sum()
    observer.end()
    observer.begin(1)
    late.backward()
    assert observer.end() is None


# --- merging and bounds ---------------------------------------------------------------------------


def test_a_cell_called_at_each_time_step_is_one_row_with_the_outputs_of_at_most_64_calls() -> None:
    cell = nn.RNNCell(3, 3)

    class Unrolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, inputs: Tensor) -> Tensor:
            state = torch.zeros(2, 3)
            for step in inputs:
                state = self.cell(step, state)
            return state

    model = Unrolled()
    rows = observed_step(model, lambda: model(normal(100, 2, 3)).sum())
    assert site(rows, "cell")["n"] == 64 * 6
    assert site(rows, "cell", "output_grad")["n"] == 100 * 6


def test_the_packet_says_how_much_memory_it_holds() -> None:
    model = nn.Sequential(nn.Linear(4, 1000), nn.ReLU())
    observer = ModuleObserver(model)
    observer.begin(0)
    model(normal(64, 4)).sum().backward()
    packet = observer.end()
    assert packet is not None
    assert 4 * 1000 < packet.n_bytes < 64 * 1000


def test_elements_beyond_the_limit_are_left_out_and_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telemetry.capture.activations.recorder.MAX_ELEMENTS", 30)
    model = nn.Sequential(nn.Linear(4, 6))
    row = site(observed_step(model, lambda: model(normal(20, 4)).sum()), "0")
    assert row["n"] == 30
