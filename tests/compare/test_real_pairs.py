"""Real trainings that differ in one thing: what it is must be named."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from git_repository import committed, git
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from telemetry import TelemetryCallback
from telemetry.capture.environment.repository import git_state
from telemetry.capture.writer import loop
from telemetry.compare.diff import read_side
from telemetry.compare.diff.diff import diff_runs
from telemetry.compare.diff.result import Diff
from telemetry.compare.terms import DivergenceKind
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

N_STEPS = 12
LATE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A small classifier; each field is one thing that may differ."""

    initialisation: int = 0
    order: int = 0
    draws: int = 0
    activation: Callable[[], nn.Module] = nn.ReLU
    dropout: float = 0.0
    label_smoothing: float = 0.0
    weight_decay: float = 0.01
    n_samples: int = 128
    rounding_at: int | None = None
    n_frozen: int = 0
    other_frozen: bool = False

    def recorded(self, store: Path) -> Run:
        """Train and record every step."""
        torch.manual_seed(self.initialisation)
        model = self._model()
        for parameter in list(model.parameters())[: self.n_frozen]:
            parameter.requires_grad_(requires_grad=False)
            parameter.mul_(2.0 if self.other_frozen else 1.0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=self.weight_decay)
        telemetry = TelemetryCallback(
            model, optimizer, store=store, config={"lr": 1e-2}, every=1, overhead_budget=None
        )
        torch.manual_seed(self.draws)
        for step, (inputs, labels) in zip(range(N_STEPS), self._batches(), strict=False):
            loss = nn.functional.cross_entropy(
                model(inputs), labels, label_smoothing=self.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            if step == self.rounding_at:
                model[3].weight.grad.mul_(1 + 3e-7)
            optimizer.step()
            telemetry.step(loss=loss)
        telemetry.close()
        assert telemetry.path is not None
        return load_run(telemetry.path)

    def _model(self) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(16, 32),
            self.activation(),
            nn.Dropout(self.dropout),
            nn.Linear(32, 32),
            self.activation(),
            nn.Linear(32, 2),
        )

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(7)
        inputs = torch.randn(256, 16, generator=generator)[: self.n_samples]
        labels = (inputs[:, :4].sum(1) > 0).long()
        order = torch.Generator().manual_seed(self.order)
        data = TensorDataset(inputs, labels)
        loader = DataLoader(data, batch_size=32, shuffle=True, generator=order)
        while True:
            yield from loader


class Attention(nn.Module):
    """Attends from 8 groups of 4 features to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 1, dropout=0.5, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:
        rows = values.unflatten(1, (8, 4))
        attended: Tensor = self.attention(rows, rows, rows, need_weights=False)[0]
        return attended.flatten(1)


BASE = Training()
patient_git_state = partial(git_state, timeout_s=60.0)  # however busy the machine is


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that the others are compared with, in a repository with one commit."""
    folder = tmp_path_factory.mktemp("pairs") / "code"
    folder.mkdir()
    committed(folder, train="smoothing = 0.0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "git_state", patient_git_state)
        patch.chdir(folder)
        return BASE.recorded(folder.parent / "store")


Compare = Callable[..., Diff]


@pytest.fixture
def compare(base: Run, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Record another training and compare it with the base or one more, findings left out."""
    store = base.ref.path.parent.parent
    monkeypatch.setattr(loop, "git_state", patient_git_state)
    monkeypatch.chdir(store.parent / "code")
    monkeypatch.setattr(read_side, "findings_of", lambda *_: ())

    def compared(training: Training, other: Training | None = None) -> Diff:
        left = base if other is None else other.recorded(store)
        return diff_runs(Store.open(store), left, training.recorded(store))

    return compared


def test_a_replay_parts_nowhere(compare: Compare) -> None:
    found = compare(BASE)
    assert found.first_divergence.kind is DivergenceKind.NONE
    assert found.first_divergence.equal_until == N_STEPS - 1
    assert found.config == ()


def test_another_order_of_the_data_is_named(compare: Compare) -> None:
    found = compare(replace(BASE, order=1)).first_divergence
    assert (found.kind, found.step) == (DivergenceKind.DATA, 0)
    assert "the samples are the same but in another order; the weights are equal" in found.detail


def test_other_samples_are_named(compare: Compare) -> None:
    found = compare(replace(BASE, n_samples=96))
    assert found.first_divergence.kind is DivergenceKind.DATA
    assert "data.dataset_size 128 -> 96" in found.first_divergence.detail


def test_another_initialisation_is_named(compare: Compare) -> None:
    found = compare(replace(BASE, initialisation=1)).first_divergence
    assert (found.kind, found.step) == (DivergenceKind.INITIAL_WEIGHTS, 0)
    assert found.layers == ("0", "3", "5")
    assert "the first batches are equal" in found.detail


@pytest.mark.parametrize("side", ["base", "candidate"])
def test_equal_weights_of_which_one_side_froze_some_are_no_other_weights(
    compare: Compare, side: str
) -> None:
    frozen = replace(BASE, n_frozen=2)
    found = (compare(frozen) if side == "base" else compare(BASE, frozen)).first_divergence
    assert (found.kind, found.step) == (DivergenceKind.OPTIMIZATION, 0)
    assert found.detail == f"2 parameters are trained only in the {side}: 0.bias, 0.weight."


def test_other_weights_are_told_where_one_side_froze_some(compare: Compare) -> None:
    found = compare(replace(BASE, initialisation=1, n_frozen=2)).first_divergence
    assert found.kind is DivergenceKind.INITIAL_WEIGHTS
    assert found.layers == ("3", "5")
    assert "2 parameters are trained only in the base: 0.bias, 0.weight" in found.detail


def test_another_result_of_weights_that_both_froze_is_not_explained(compare: Compare) -> None:
    frozen = replace(BASE, n_frozen=2)
    found = compare(frozen, replace(frozen, other_frozen=True)).first_divergence
    assert (found.kind, found.step) == (DivergenceKind.UNKNOWN, 0)
    assert found.detail.startswith(
        "recorded weights and batch are equal, but the output of 0 (Linear) differs"
    )
    assert "the values of 0.bias, 0.weight were not sampled in both runs" in found.detail


def test_another_module_is_named_with_its_place(compare: Compare) -> None:
    found = compare(replace(BASE, activation=nn.GELU)).first_divergence
    assert (found.kind, found.step, found.layer) == (DivergenceKind.CODE, 0, "1")
    assert "model.1 ReLU(inplace=false) -> GELU" in found.detail
    assert found.magnitude > 1e-4


def test_another_loss_function_is_a_change_of_code(compare: Compare) -> None:
    committed(Path.cwd(), train="smoothing = 0.1\n")
    try:
        found = compare(replace(BASE, label_smoothing=0.1)).first_divergence
    finally:
        git(Path.cwd(), "reset", "-q", "--hard", "HEAD~1")
    assert (found.kind, found.step, found.layer) == (DivergenceKind.CODE, 0, None)
    assert "module outputs and batch are equal, but the loss differs" in found.detail
    assert "git_commit" in found.detail


def test_another_weight_decay_is_optimization_though_nobody_configured_it(
    compare: Compare,
) -> None:
    found = compare(replace(BASE, weight_decay=0.5)).first_divergence
    assert (found.kind, found.step) == (DivergenceKind.OPTIMIZATION, 0)
    assert "optimizer.weight_decay 0.01 -> 0.5" in found.detail


def test_rounding_in_one_layer_is_nondeterminism_of_that_layer(compare: Compare) -> None:
    found = compare(replace(BASE, rounding_at=LATE)).first_divergence
    assert (found.kind, found.step, found.layer) == (DivergenceKind.NONDETERMINISM, LATE, "3")
    assert found.equal_until == LATE - 1
    assert found.magnitude < 1e-6


def test_other_random_numbers_of_dropout_are_no_change_of_code(compare: Compare) -> None:
    dropout = replace(BASE, dropout=0.5)
    found = compare(replace(dropout, draws=1), dropout).first_divergence
    assert (found.kind, found.step, found.layer) == (DivergenceKind.NONDETERMINISM, 0, "2")
    assert "the output of 2 (Dropout) differs" in found.detail
    assert "it draws different random numbers" in found.detail


def test_dropout_inside_of_an_attention_is_no_change_of_code(compare: Compare) -> None:
    attention = replace(BASE, activation=Attention)
    found = compare(replace(attention, draws=1), attention).first_divergence
    assert (found.kind, found.layer) == (DivergenceKind.NONDETERMINISM, "1.attention")
