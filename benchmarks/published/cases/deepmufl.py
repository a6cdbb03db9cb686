"""Questions of Stack Overflow that deepmufl collected; all are written with Keras."""

import itertools

import torch
from sklearn.datasets import load_iris, make_classification, make_regression
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Trial, case
from published.keras_like import (
    Compiled,
    adam,
    binary_crossentropy,
    categorical_crossentropy,
    dense,
    mean_absolute_error,
    mean_squared_error,
    rmsprop,
)
from published.material import cut, standardised, unexplained


def _address(question: int) -> str:
    return f"https://stackoverflow.com/questions/{question} (ali-ghanbari/deepmufl-ase-2023)"


def _classes(n: int, features: int, **more: float) -> tuple[Tensor, Tensor]:
    x, y = make_classification(n, features, random_state=0, **more)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


@case(
    "deepmufl-42472447",
    source=_address(42472447),
    wrong="sigmoid for 122 classes, uniform .05 weights in five layers",
    mended="softmax, Glorot",
    ported="30 classes, 20 of the features tell",
)
def sigmoid_for_many_classes(trial: Trial) -> Reached:
    """Five layers of small weights."""
    data = cut(*_classes(1000, 33, n_classes=30, n_informative=20, n_clusters_per_class=1))
    start = trial.pick("uniform", fixed="glorot")
    layers: list[nn.Module] = [dense(33, 50, start), nn.ReLU()]
    for n_in in (50, 33, 33):
        layers += [dense(n_in, 33, start), nn.ReLU()]
    head = trial.pick(nn.Sigmoid(), fixed=nn.Softmax(-1))
    model = nn.Sequential(*layers, dense(33, 30, start), head)
    network = Compiled(
        trial=trial, model=model, optimizer=adam(model), loss_of=categorical_crossentropy
    )
    network.fit(data.x, functional.one_hot(data.y, 30).float(), epochs=25, batch_size=20)
    right = network.predict(data.val_x).argmax(-1) == data.val_y
    return Reached(share=float(right.float().mean()))


@case(
    "deepmufl-45378493",
    source=_address(45378493),
    wrong="softmax over one unit with binary crossentropy",
    mended="sigmoid",
)
def softmax_with_binary_crossentropy(trial: Trial) -> Reached:
    """The answer is always one."""
    x, y = _classes(600, 40)
    x, y = x.view(-1, 10, 4).transpose(1, 2), y.float()
    head = trial.pick(nn.Softmax(-1), fixed=nn.Sigmoid())
    model = nn.Sequential(
        *(nn.Conv1d(4, 16, 4, padding="same"), nn.BatchNorm1d(16), nn.LeakyReLU(0.3)),
        *(nn.Dropout(0.2), nn.Conv1d(16, 8, 4, padding="same"), nn.BatchNorm1d(8)),
        *(nn.LeakyReLU(0.3), nn.Dropout(0.2), nn.Flatten()),
        *(dense(80, 64), nn.BatchNorm1d(64), nn.LeakyReLU(0.3), dense(64, 1), head),
    )
    network = Compiled(trial=trial, model=model, optimizer=adam(model), loss_of=nn.BCELoss())
    network.fit(
        x[:60], y[:60, None], epochs=100, batch_size=128, validation_data=(x[60:], y[60:, None])
    )
    right = (network.predict(x[60:]).flatten() > 0.5).float() == y[60:]
    return Reached(share=float(right.float().mean()))


@case(
    "deepmufl-48486598",
    source=_address(48486598),
    wrong="linear layers only for a polynomial",
    mended="rectified, and wider",
    ported="100 epochs",
)
def polynomial_by_lines(trial: Trial) -> Reached:
    """A line through a curve."""
    x = torch.arange(0, 10, 0.05)[:, None]
    powers = torch.cat([x**n for n in range(1, 6)], 1)
    weights = torch.tensor([15.72807, -7.273893, 1.4912, -0.1384615, 0.00474359])
    y = 0.05 * (powers @ weights)[:, None]
    model = trial.pick(
        nn.Sequential(dense(1, 1), dense(1, 5), dense(5, 1)),
        fixed=nn.Sequential(dense(1, 64), nn.ReLU(), dense(64, 64), nn.ReLU(), dense(64, 1)),
    )
    network = Compiled(trial=trial, model=model, optimizer=adam(model), loss_of=mean_absolute_error)
    network.fit(x, y, epochs=100, batch_size=10)
    return Reached(error=unexplained(network.predict(x), y))


class _Recurrent(nn.Module):
    """One or two LSTM layers, and a head for the last step or for each."""

    def __init__(self, n_in: int, head: nn.Module, *, layers: int, each: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_in, 10, layers, batch_first=True)
        self.head = head
        self.each = each

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)
        out: Tensor = self.head(states if self.each else states[:, -1])
        return out


@case(
    "deepmufl-50338865",
    source=_address(50338865),
    wrong="LSTM on exclusive or with absolute error, 50 epochs, which are 50 steps",
    mended="1,000 epochs, squared error, rate .01",
)
def fifty_steps(trial: Trial) -> Reached:
    """Ended before it began."""
    x = torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]], [[1.0, 1.0]]])
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    model = _Recurrent(2, dense(10, 2), layers=2, each=False)
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=adam(model, trial.pick(1e-3, fixed=1e-2)),
        loss_of=trial.pick(mean_absolute_error, fixed=mean_squared_error),
    )
    network.fit(x, y, epochs=trial.pick(50, fixed=1000))
    return Reached(error=unexplained(network.predict(x), y))


@case(
    "deepmufl-52566823",
    source=_address(52566823),
    wrong="sigmoid output for targets of +-200",
    mended="linear output, scaled targets",
    ported="60 epochs",
)
def sigmoid_for_large_targets(trial: Trial) -> Reached:
    """Zero to one for minus to plus two hundred."""
    x, y = (
        torch.tensor(part, dtype=torch.float32)
        for part in make_regression(1000, 5, random_state=75)
    )
    data = cut(x, trial.pick(y, fixed=standardised(y)), share=0.7)
    head = trial.pick(nn.Sigmoid(), fixed=nn.Identity())
    model = nn.Sequential(
        *(dense(5, 5), nn.Sigmoid(), dense(5, 4), nn.Sigmoid(), dense(4, 1), head)
    )
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=SGD(model.parameters(), lr=0.1),
        loss_of=mean_squared_error,
    )
    network.fit(data.x, data.y, epochs=60, batch_size=32, shuffle=False)
    return Reached(error=unexplained(network.predict(data.val_x), data.val_y))


@case(
    "deepmufl-54811239",
    source=_address(54811239),
    wrong="tanh output for targets of 7 to 12, 5 epochs, which are 5 steps",
    mended="linear output, 500 epochs",
)
def tanh_for_counts(trial: Trial) -> Reached:
    """Minus one to one for seven to twelve."""
    x = torch.tensor(
        [
            [[8.0, 0.0, 18.0, 10.0], [9.0, 0.0, 20.0, 7.0], [7.0, 0.0, 17.0, 12.0]],
            [[7.0, 0.0, 31.0, 8.0], [5.0, 0.0, 22.0, 9.0], [7.0, 0.0, 17.0, 12.0]],
        ]
    )
    y = torch.tensor([[[10.0], [7.0], [12.0]], [[8.0], [9.0], [12.0]]])
    end = trial.pick(nn.Tanh(), fixed=nn.Identity())
    head = nn.Sequential(dense(10, 50), nn.Tanh(), dense(50, 1), end)
    model = _Recurrent(4, head, layers=1, each=True)
    network = Compiled(trial=trial, model=model, optimizer=adam(model), loss_of=mean_squared_error)
    network.fit(x, y, epochs=trial.pick(5, fixed=500))
    return Reached(error=unexplained(network.predict(x), y))


@case(
    "deepmufl-57407973",
    source=_address(57407973),
    wrong="five sigmoid layers, N(.05), dropout .5; no sigmoid before a loss of probabilities",
    mended="rectified, Glorot, sigmoid output",
    ported="15 epochs",
)
def five_sigmoid_layers(trial: Trial) -> Reached:
    """Nothing reaches the first layer."""
    x, y = _classes(1000, 28)
    data = cut(x, y.float())
    start = trial.pick("normal", fixed="glorot")
    unit = trial.pick(nn.Sigmoid, fixed=nn.ReLU)
    layers: list[nn.Module] = [dense(28, 28, start), unit()]
    for n_in, n_out, dropout in ((28, 200, 0.5), (200, 300, 0.5), (300, 300, 0.5), (300, 150, 0.4)):
        layers += [dense(n_in, n_out, start), unit(), nn.Dropout(dropout)]
    head = [nn.Sigmoid()] if trial.fixed else []
    model = nn.Sequential(*layers, dense(150, 1, start), *head)
    network = Compiled(trial=trial, model=model, optimizer=adam(model), loss_of=binary_crossentropy)
    network.fit(data.x, data.y, epochs=15, batch_size=32, validation_data=(data.val_x, data.val_y))
    right = (network.predict(data.val_x).flatten() > 0.5).float() == data.val_y
    return Reached(share=float(right.float().mean()))


@case(
    "deepmufl-59758722",
    source=_address(59758722),
    wrong="rectified output for targets of both signs, RMSprop .001, 13 epochs (104 steps)",
    mended="linear output, scaled targets, 100 epochs",
)
def rectified_for_both_signs(trial: Trial) -> Reached:
    """Half of the targets cannot be said."""
    x, y = (
        torch.tensor(part, dtype=torch.float32) for part in make_regression(1000, 4, random_state=0)
    )
    y = trial.pick(y, fixed=standardised(y))
    end = trial.pick(nn.ReLU(), fixed=nn.Identity())
    model = nn.Sequential(*(dense(4, 30), nn.ReLU(), dense(30, 30), nn.ReLU(), dense(30, 1), end))
    network = Compiled(
        trial=trial, model=model, optimizer=rmsprop(model), loss_of=mean_squared_error
    )
    network.fit(x, y, epochs=trial.pick(13, fixed=100), batch_size=128)
    return Reached(error=unexplained(network.predict(x), y))


@case(
    "deepmufl-61234347",
    source=_address(61234347),
    wrong="eight tanh layers, one epoch (4 steps)",
    mended="60 epochs",
    ported="widths a quarter",
)
def one_epoch(trial: Trial) -> Reached:
    """Ended before it began."""
    bunch = load_iris()
    order = torch.randperm(150, generator=trial.generator)
    x = torch.tensor(bunch.data, dtype=torch.float32)[order]
    data = cut(x, torch.tensor(bunch.target)[order], share=0.7)
    sizes = (4, 250, 125, 62, 31, 16, 8, 9)
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [dense(n_in, n_out), nn.Tanh()]
    model = nn.Sequential(*layers, dense(9, 3))
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=Adam(model.parameters(), lr=1e-3, eps=1e-7),
        loss_of=functional.cross_entropy,
    )
    network.fit(data.x, data.y, epochs=trial.pick(1, fixed=60))
    right = network.predict(data.val_x).argmax(-1) == data.val_y
    return Reached(share=float(right.float().mean()))
