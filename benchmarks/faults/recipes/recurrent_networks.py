"""Faults and controls of recurrent networks over time."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import Bench, Recurrent, train
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam


def _recall(
    bench: Bench, model: nn.Module, length: int, *, steps: int = 400, asked: int = 0
) -> None:
    """One token of the sequence is asked for at its end."""
    generator = bench.generator()

    def rows(n: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(8, (n, length), generator=generator)
        return functional.one_hot(tokens, 8).float(), tokens[:, asked]

    train(bench, model, Adam(model.parameters(), 3e-3), (rows(32) for _ in range(steps)))
    x, y = rows(512)
    with torch.no_grad():
        bench.result["constant"] = float(y.bincount().max() / len(y))
        bench.result["accuracy"] = float((model(x).argmax(-1) == y).float().mean())


def _forget_bias(model: Recurrent, value: float) -> Recurrent:
    width = model.rnn.hidden_size
    with torch.no_grad():
        model.rnn.bias_ih_l0[width : 2 * width] = value
    return model


class Loop(nn.Module):
    """A cell called once per time step; its last state is read."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(cell.hidden_size, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        state = self.cell(x[:, 0])
        for place in range(1, x.shape[1]):
            state = self.cell(x[:, place], state)
        return self.head(state)


class BothWays(nn.Module):
    """A bidirectional layer, read at the end of either direction."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.rnn(x)[1].transpose(0, 1).flatten(1))


@fault("F07", "vanishing_through_time", by=150, layers=("rnn",))
def long_recall(bench: Bench) -> None:
    model = Recurrent("RNN", 8) if bench.is_faulty else _forget_bias(Recurrent("LSTM", 8), 3.0)
    _recall(bench, model, 30)


@fault("F08", "vanishing_through_time", "poor_initialization", by=150, layers=("rnn",))
def forgetful_gates(bench: Bench) -> None:
    _recall(bench, _forget_bias(Recurrent("LSTM", 8), bench.fault(-3.0, without=3.0)), 40)


@fault("Y20", "vanishing_through_time", by=150, layers=("cell",))
def loop_of_cells(bench: Bench) -> None:
    cell = nn.GRUCell(8, 32)
    if not bench.is_faulty:
        nn.init.constant_(cell.bias_ih[32:64], 3.0)  # keeps what it knows
    _recall(bench, Loop(cell), 40)


@healthy("X50")
def remembering_gates(bench: Bench) -> None:
    _recall(bench, _forget_bias(Recurrent("LSTM", 8), 3.0), 40)


@healthy("X51")
def near_the_end(bench: Bench) -> None:
    """As forgetful as F07, and asked for what it still remembers."""
    _recall(bench, Recurrent("RNN", 8), 30, asked=-2)


@healthy("X52")
def either_end(bench: Bench) -> None:
    """The middle of the sequence is out of reach, and not asked for."""
    _recall(bench, BothWays(), 60)


@healthy("X53")
def noisy_sequences(bench: Bench) -> None:
    """A long series whose next value depends on the last few, half of it noise."""
    generator = bench.generator()

    class Forecast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(1, 32, batch_first=True)
            self.head = nn.Linear(32, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0][:, -1])

    model = Forecast()
    noise = torch.randn(6000, generator=generator)
    series = torch.zeros(6000)
    for place in range(1, 6000):
        series[place] = 0.7 * series[place - 1] + noise[place]

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(400):
            starts = torch.randint(5900, (32,), generator=generator)
            rows = torch.stack([series[s : s + 65] for s in starts])
            yield rows[:, :-1, None], rows[:, -1:]

    train(bench, model, Adam(model.parameters(), 3e-3), batches(), loss_of=functional.mse_loss)
