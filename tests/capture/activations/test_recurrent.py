"""Gradients per time step, against autograd; of training nothing changes."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from observed import Row, observed_step, profile, site, sites
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from telemetry.capture.activations.observer import ModuleObserver
from telemetry.capture.activations.recurrent import MAX_STEPS, FinalStep, PaddedSteps

BATCH, STEPS, FEATURES, HIDDEN = 3, 12, 4, 5
KINDS = [nn.RNN, nn.GRU, nn.LSTM]
Read = Callable[[nn.Module, Tensor], Tensor]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def recurrent(kind: Callable[..., nn.Module], **options: object) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(kind(FEATURES, HIDDEN, **options))


def last_output(model: nn.Module, inputs: Tensor) -> Tensor:
    """The loss of a sequence classifier: it reads the last step alone."""
    return model(inputs)[0][-1].square().sum()


def last_state(model: nn.Module, inputs: Tensor) -> Tensor:
    state = model(inputs)[1]
    return (state[0] if isinstance(state, tuple) else state).square().sum()


def input_gradient(model: nn.Module, inputs: Tensor, read: Read) -> Tensor:
    watched = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(read(copy.deepcopy(model), watched), watched)
    return gradient


def row_of(model: nn.Module, inputs: Tensor, read: Read, name: str = "input_grad") -> Row:
    return site(observed_step(model, lambda: read(model, inputs)), "0", name)


# --- fused modules --------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [last_output, last_state])
@pytest.mark.parametrize("kind", KINDS)
def test_raw_inputs_have_a_gradient_norm_per_time_step(
    kind: Callable[..., nn.Module], read: Read
) -> None:
    model, inputs = recurrent(kind, num_layers=2), normal(STEPS, BATCH, FEATURES)
    row = row_of(model, inputs, read)
    expected = input_gradient(model, inputs, read)
    assert row["n_profile"] == STEPS
    np.testing.assert_allclose(profile(row), expected.norm(dim=(1, 2)), rtol=1e-5)
    assert row["sumsq"] == pytest.approx(expected.square().sum().item(), rel=1e-5)
    assert not inputs.requires_grad


def test_an_input_that_has_a_gradient_is_seen_at_the_module_alone() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(FEATURES, FEATURES)
            self.recurrent = nn.GRU(FEATURES, FEATURES, batch_first=True)

        def forward(self, values: Tensor) -> Tensor:
            hidden = self.embed(values)
            return 100 * hidden.sum() + self.recurrent(input=hidden)[0].sum()

    torch.manual_seed(0)
    model, inputs = Residual(), normal(BATCH, STEPS, FEATURES)
    row = site(observed_step(model, lambda: model(inputs)), "recurrent", "input_grad")
    hidden = model.embed(inputs).detach().requires_grad_()
    (expected,) = torch.autograd.grad(model.recurrent(hidden)[0].sum(), hidden)
    np.testing.assert_allclose(profile(row), expected.norm(dim=(0, 2)), rtol=1e-5)


def test_a_batch_that_comes_first_and_both_directions() -> None:
    model = recurrent(nn.LSTM, batch_first=True, bidirectional=True)
    inputs = normal(BATCH, STEPS, FEATURES)

    def read(model: nn.Module, inputs: Tensor) -> Tensor:
        return model(inputs)[0].square().sum()

    expected = input_gradient(model, inputs, read).norm(dim=(0, 2))
    np.testing.assert_allclose(profile(row_of(model, inputs, read)), expected, rtol=1e-5)


def test_a_sequence_without_batch() -> None:
    model, inputs = recurrent(nn.RNN, batch_first=True), normal(STEPS, FEATURES)
    expected = input_gradient(model, inputs, last_output).norm(dim=1)
    np.testing.assert_allclose(profile(row_of(model, inputs, last_output)), expected, rtol=1e-5)


def test_packed_sequences_have_the_steps_of_the_longest() -> None:
    model, lengths = recurrent(nn.LSTM), [3, STEPS, 7]

    def read(model: nn.Module, inputs: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        return pad_packed_sequence(model(packed)[0])[0].square().sum()

    inputs = normal(STEPS, BATCH, FEATURES)
    rows = observed_step(model, lambda: read(model, inputs))
    expected = input_gradient(model, inputs, read).norm(dim=(1, 2))
    np.testing.assert_allclose(profile(site(rows, "0", "input_grad")), expected, rtol=1e-5)
    with torch.no_grad():
        packed = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        outputs = pad_packed_sequence(model(packed)[0])[0]
    np.testing.assert_allclose(
        profile(site(rows, "0", "output_grad")), 2 * outputs.norm(dim=(1, 2)), rtol=1e-5
    )


@pytest.mark.parametrize("read", [last_output, last_state])
def test_the_output_says_where_the_loss_attaches(read: Read) -> None:
    model, inputs = recurrent(nn.GRU), normal(STEPS, BATCH, FEATURES)
    with torch.no_grad():
        last = model(inputs)[0][-1]
    found = profile(row_of(model, inputs, read, "output_grad"))
    assert not found[:-1].any()
    assert found[-1] == pytest.approx(2 * last.norm().item(), rel=1e-5)


def test_states_of_both_directions_attach_at_both_ends() -> None:
    gradient = torch.zeros(4, 1, 2)  # two layers, two directions
    gradient[0, 0, 0] = 3.0
    gradient[2, 0, 1] = 4.0
    gradient[3, 0, 0] = 7.0
    steps = FinalStep(n_steps=5, n_directions=2)
    assert steps.norms(gradient).tolist() == [7.0, 0.0, 0.0, 0.0, 5.0]


def test_micro_batches_add_up() -> None:
    model = recurrent(nn.RNN)
    first, second = normal(STEPS, BATCH, FEATURES), normal(STEPS, 7, FEATURES, seed=1)
    row = site(
        observed_step(model, lambda: last_output(model, first) + last_output(model, second)),
        "0",
        "input_grad",
    )
    gradients = [input_gradient(model, inputs, last_output) for inputs in (first, second)]
    expected = torch.cat(gradients, dim=1).norm(dim=(1, 2))
    np.testing.assert_allclose(profile(row), expected, rtol=1e-5)


def test_of_a_long_sequence_the_last_steps_are_kept() -> None:
    gradient = torch.arange(1.0, MAX_STEPS + 4).unsqueeze(1)
    found = PaddedSteps(dim=0, n_steps=MAX_STEPS + 3).norms(gradient)
    assert (len(found), found[0], found[-1]) == (MAX_STEPS, 4.0, MAX_STEPS + 3)


# --- cells ----------------------------------------------------------------------------------------


class Unrolled(nn.Module):
    """A cell called at each time step; the last state is the output."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, inputs: Tensor) -> Tensor:
        state = torch.zeros(inputs.shape[1], HIDDEN)
        for step in inputs:
            state = self.cell(step, state)
        return state


class Cell(nn.Module):
    """A hand-written one."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(FEATURES, HIDDEN)
        self.carry = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, values: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.read(values) + self.carry(state))


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell])
def test_a_cell_has_a_value_per_call(kind: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model, inputs = Unrolled(kind(FEATURES, HIDDEN)), normal(100, BATCH, FEATURES)
    rows = observed_step(model, lambda: model(inputs).square().sum())
    watched = inputs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(watched).square().sum(), watched)
    row = site(rows, "cell", "input_grad")
    assert row["n_profile"] == 100
    np.testing.assert_allclose(profile(row), expected.norm(dim=(1, 2)), rtol=1e-4)


def test_a_hand_written_cell_shows_the_gradient_of_its_state() -> None:
    torch.manual_seed(0)
    model, inputs = Unrolled(Cell()), normal(STEPS, BATCH, FEATURES)
    rows = observed_step(model, lambda: model(inputs).square().sum())
    states = [torch.zeros(BATCH, HIDDEN)]
    for step in inputs:
        states.append(model.cell(step, states[-1]))
    expected = torch.autograd.grad(states[-1].square().sum(), states[1:])
    np.testing.assert_allclose(
        profile(site(rows, "cell", "output_grad")), [g.norm() for g in expected], rtol=1e-5
    )


def test_a_module_called_once_has_no_profile() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, HIDDEN))
    inputs = normal(BATCH, FEATURES)
    assert row_of(model, inputs, lambda m, x: m(x).sum(), "output_grad")["profile"] is None


# --- nothing changes ------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.5}])
@pytest.mark.parametrize("kind", KINDS)
def test_weight_gradients_are_the_same_bits(
    kind: Callable[..., nn.Module], options: dict[str, object], *, packed: bool
) -> None:
    inputs: Tensor | PackedSequence = normal(STEPS, BATCH, FEATURES)
    if packed:
        inputs = pack_padded_sequence(inputs, [STEPS, 5, 2])
    results = []
    for observe in (False, True):
        model = recurrent(kind, **options)
        observer = ModuleObserver(model)
        if observe:
            observer.begin(0)
        output, state = model(inputs)
        values = output.data if isinstance(output, PackedSequence) else output
        hidden = state[0] if isinstance(state, tuple) else state
        loss = values.square().sum() + hidden.sum()
        loss.backward()
        packet = observer.end()
        assert (packet is not None) == observe
        results.append([loss, values, hidden, *(p.grad for p in model.parameters())])
    assert all(torch.equal(bare, seen) for bare, seen in zip(*results, strict=True))


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_weight_gradients_of_cells_are_the_same_bits(kind: Callable[..., nn.Module]) -> None:
    results = []
    for observe in (False, True):
        torch.manual_seed(0)
        cell = kind(FEATURES, HIDDEN)
        model = nn.Sequential(cell)
        observer = ModuleObserver(model)
        if observe:
            observer.begin(0)
        state = None
        for step in normal(STEPS, BATCH, FEATURES):
            state = cell(step, state)
        (state[0] if isinstance(state, tuple) else state).square().sum().backward()
        observer.end()
        results.append([p.grad for p in model.parameters()])
    assert all(torch.equal(bare, seen) for bare, seen in zip(*results, strict=True))


def test_a_frozen_module_does_not_begin_to_require_a_gradient() -> None:
    model = nn.Sequential(recurrent(nn.GRU).requires_grad_(requires_grad=False))
    observer = ModuleObserver(model)
    observer.begin(0)
    assert not model(normal(STEPS, BATCH, FEATURES))[0].requires_grad
    observer.end()


def test_hooks_on_the_backward_pass_of_the_module_see_what_they_saw() -> None:
    model, seen = recurrent(nn.GRU), []
    model[0].register_full_backward_pre_hook(lambda _module, _gradients: None)
    model[0].register_full_backward_hook(lambda _module, inputs, _outputs: seen.append(inputs))
    with pytest.warns(UserWarning, match="no inputs require gradients"):
        rows = observed_step(model, lambda: last_output(model, normal(STEPS, BATCH, FEATURES)))
    assert seen == [(None,)]
    assert "input_grad" not in sites(rows, "0")


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointed_cells_are_recomputed_as_they_ran(*, use_reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = nn.GRU(FEATURES, HIDDEN)

        def forward(self, values: Tensor, gain: Tensor) -> Tensor:
            return checkpoint(
                lambda x, g: self.recurrent(x)[0] * g, values, gain, use_reentrant=use_reentrant
            )

    gradients = []
    for observe in (False, True):
        torch.manual_seed(0)
        model = Checkpointed()
        observer = ModuleObserver(model)
        if observe:
            observer.begin(0)
        gain = torch.ones(1, requires_grad=True)
        model(normal(STEPS, BATCH, FEATURES), gain).sum().backward()
        observer.end()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(bare, seen) for bare, seen in zip(*gradients, strict=True))


def test_evaluation_reads_its_own_input() -> None:
    seen: list[Tensor] = []
    model = recurrent(nn.GRU)
    model[0].register_forward_hook(lambda _module, args, _output: seen.append(args[0]))
    observer = ModuleObserver(model)
    observer.begin(0)
    inputs = normal(STEPS, BATCH, FEATURES)
    with torch.no_grad():
        model(inputs)
    observer.end()
    assert seen[0] is inputs
