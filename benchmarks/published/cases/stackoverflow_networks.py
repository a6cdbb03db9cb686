"""Questions of Stack Overflow that DeepLocalize and DeepFD collected: losses, heads and rates."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD

from published.case import Reached, Trial, case
from published.keras_like import (
    Compiled,
    adam,
    binary_crossentropy,
    dense,
    mean_absolute_error,
    mean_squared_error,
    nesterov,
)
from published.material import Data, accuracy, digits, standardised, unexplained

XOR_X = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
XOR_Y = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
COLLECTION = "Wardat-ISU/DeepLocalize, ArabelaTso/DeepFD"


def _address(question: int) -> str:
    return f"https://stackoverflow.com/questions/{question} ({COLLECTION})"


@case(
    "deepfd-01",
    source=_address(48385830),
    wrong="no activation at all, squared error, rate 3, N(0,1) weights",
    mended="sigmoid and softmax, crossentropy",
    ported="digits of 8 x 8",
)
def no_activation_and_rate_three(trial: Trial) -> Reached:
    """Two linear layers that blow up."""
    data = digits()
    hidden, head = dense(64, 30, "unit"), dense(30, 10, "unit")
    model = trial.pick(nn.Sequential(hidden, head), fixed=nn.Sequential(hidden, nn.Sigmoid(), head))

    def squared(out: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(out, functional.one_hot(target, 10).float())

    network = Compiled(
        trial=trial,
        model=model,
        optimizer=SGD(model.parameters(), lr=3.0),
        loss_of=trial.pick(squared, fixed=functional.cross_entropy),
    )
    network.fit(data.x, data.y, epochs=5, batch_size=10)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "deepfd-03",
    source=_address(31556268),
    wrong="exclusive or with absolute error, rate .05, 1,000 epochs",
    mended="squared error and Adam",
    ported="the fix runs 4,000 epochs",
)
def absolute_error_for_exclusive_or(trial: Trial) -> Reached:
    """Four sigmoid units that stay where they are."""
    model = nn.Sequential(dense(2, 4), nn.Sigmoid(), dense(4, 1), nn.Sigmoid())
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=trial.pick(nesterov(model, 0.05, 0.11), fixed=adam(model, 0.01)),
        loss_of=trial.pick(mean_absolute_error, fixed=mean_squared_error),
    )
    network.fit(XOR_X, XOR_Y, epochs=trial.pick(1000, fixed=4000), batch_size=4)
    return Reached(error=unexplained(network.predict(XOR_X), XOR_Y))


@case(
    "deepfd-05",
    source=_address(48251943),
    wrong="rectified output for targets that are partly negative",
    mended="tanh output",
    ported="17 rows like those",
)
def rectified_output(trial: Trial) -> Reached:
    """Nothing below zero can be said."""
    x = 0.8 + 0.7 * torch.randn(17, 2, generator=trial.generator)
    noise = 0.1 * torch.randn(17, generator=trial.generator)
    y = 0.5 - 0.8 * x[:, 0] + 0.2 * x[:, 1] + noise
    head = trial.pick(nn.ReLU(), fixed=nn.Tanh())
    model = nn.Sequential(dense(2, 4), nn.ReLU(), dense(4, 1), head)
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=SGD(model.parameters(), lr=0.01),
        loss_of=mean_squared_error,
    )
    network.fit(x, y, epochs=50, batch_size=10)
    return Reached(error=unexplained(network.predict(x), y))


@case(
    "deepfd-07",
    source=_address(33969059),
    wrong="softmax over one unit for a regression; inputs to 10,000, targets to 35,000",
    mended="linear output (which alone is no help: scaled here as well)",
    ported="1,000 steps",
)
def softmax_for_a_regression(trial: Trial) -> Reached:
    """The answer is always one."""
    x = 10_000 * torch.rand(32_000, 3, generator=trial.generator)
    y = x @ torch.tensor([[2.0], [1.0], [0.5]]) + 2.2
    if trial.fixed:
        x, y = standardised(x), standardised(y)
    model = nn.Sequential(
        *(dense(3, 3, "uniform"), nn.Tanh(), nn.Dropout(0.5)),
        *(dense(3, 2, "uniform"), nn.Tanh(), nn.Dropout(0.5)),
        *(dense(2, 1, "uniform"), trial.pick(nn.Softmax(-1), fixed=nn.Identity())),
    )
    network = Compiled(
        trial=trial, model=model, optimizer=nesterov(model, 0.1), loss_of=mean_squared_error
    )
    network.fit(x, y, epochs=1)
    return Reached(error=unexplained(network.predict(x), y))


@case(
    "deepfd-09",
    source=_address(34311586),
    wrong="rate .001, softmax over one unit, uniform .05 weights, 20 epochs",
    mended="sigmoid, Adam, 4,000 epochs",
    ported="the fix uses Adam .01",
)
def softmax_for_exclusive_or(trial: Trial) -> Reached:
    """The answer is always one."""
    x, y = torch.cat([XOR_X, XOR_X[:2]]), torch.cat([XOR_Y, XOR_Y[:2]])
    model = nn.Sequential(
        *(dense(2, 2, "uniform"), nn.Sigmoid(), dense(2, 3, "uniform"), nn.Sigmoid()),
        *(dense(3, 1, "uniform"), trial.pick(nn.Softmax(-1), fixed=nn.Sigmoid())),
    )
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=trial.pick(nesterov(model, 0.001), fixed=adam(model, 0.01)),
        loss_of=mean_squared_error,
    )
    network.fit(x, y, epochs=trial.pick(20, fixed=4000))
    return Reached(error=unexplained(network.predict(x), y))


@case(
    "deepfd-11",
    source=_address(39525358),
    wrong="inputs of 65 to 70 not scaled, uniform .05 weights",
    mended="StandardScaler, Adam .1",
    ported="six rows like those; Adam .01, for .1 kills the three units",
)
def characters_not_scaled(trial: Trial) -> Reached:
    """Codes of characters as they are."""
    x = torch.tensor(
        [
            *([65.0, 66.0, 67.0], [68.0, 69.0, 70.0], [65.0, 66.0, 70.0]),
            *([68.0, 69.0, 67.0], [65.0, 66.0, 67.0], [68.0, 69.0, 70.0]),
        ]
    )
    y = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    x = trial.pick(x, fixed=standardised(x))
    model = nn.Sequential(
        *(dense(3, 12, "uniform"), nn.ReLU(), dense(12, 3, "uniform"), nn.ReLU()),
        *(dense(3, 1, "uniform"), nn.Sigmoid()),
    )
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=adam(model, trial.pick(1e-3, fixed=1e-2)),
        loss_of=nn.BCELoss(),
    )
    network.fit(x, y[:, None], epochs=150, batch_size=1)
    return Reached(error=float(binary_crossentropy(network.predict(x), y)))


@case(
    "deepfd-13",
    source=_address(48934338),
    wrong="rate .1 for targets up to 125",
    mended="rate 1e-4",
    ported="300 epochs",
)
def rate_for_large_targets(trial: Trial) -> Reached:
    """A parabola that blows up."""
    x = torch.arange(0.0, 5.0, 0.1)[:, None]
    y = 5 * x**2 + torch.randn(50, 1, generator=trial.generator) ** 3
    model = nn.Sequential(
        *(dense(1, 50), nn.ReLU(), dense(50, 30, "uniform"), nn.ReLU(), dense(30, 1)),
    )
    rate = trial.pick(0.1, fixed=1e-4)
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=SGD(model.parameters(), lr=rate),
        loss_of=mean_squared_error,
    )
    network.fit(x, y, epochs=300)
    return Reached(error=unexplained(network.predict(x), y))


def _pictures(trial: Trial, n_classes: int) -> Data:
    """Digits of a few classes, as images."""
    del trial
    data = digits()
    kept, val_kept = data.y < n_classes, data.val_y < n_classes
    return Data(
        x=data.x[kept].view(-1, 1, 8, 8),
        y=data.y[kept],
        val_x=data.val_x[val_kept].view(-1, 1, 8, 8),
        val_y=data.val_y[val_kept],
    )


@case(
    "deepfd-15",
    source=_address(59325381),
    wrong="labels divided by 255, which makes all of them 0; test images not divided",
    mended="labels kept, test images divided",
    ported="channels 64 and 32 to 16 and 8, 400 steps",
)
def labels_divided(trial: Trial) -> Reached:
    """There is one class left."""
    data = _pictures(trial, 10)
    labels = trial.pick(data.y // 255, fixed=data.y)
    val_x = trial.pick(data.val_x * 255, fixed=data.val_x)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 8, 3, padding=1), nn.MaxPool2d(2), nn.Flatten()),
        *(dense(32, 128), nn.ReLU(), dense(128, 10)),
    )
    network = Compiled(
        trial=trial, model=model, optimizer=adam(model), loss_of=functional.cross_entropy
    )
    network.fit(data.x, labels, epochs=9, validation_data=(val_x, data.val_y))
    return Reached(share=accuracy(model, val_x, data.val_y))


@case(
    "deepfd-21",
    source=_address(50079585),
    wrong="three classes (0, 1, 2) given to one sigmoid with binary crossentropy",
    mended="three softmax units",
    ported="digits 0 to 2 for the photographs, channels a quarter",
)
def three_classes_for_one_unit(trial: Trial) -> Reached:
    """Two is no probability."""
    data = _pictures(trial, 3)
    head = trial.pick(nn.Sequential(dense(64, 1), nn.Sigmoid()), fixed=dense(64, 3))
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(dense(16, 64), nn.ReLU(), nn.Dropout(0.5), head),
    )
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9),
        loss_of=trial.pick(
            lambda out, target: binary_crossentropy(out, target.float()),
            fixed=functional.cross_entropy,
        ),
    )
    network.fit(data.x, data.y, epochs=10, batch_size=16)
    if trial.fixed:
        return Reached(share=accuracy(model, data.val_x, data.val_y))
    told = network.predict(data.val_x).flatten().round()
    return Reached(share=float((told == data.val_y).float().mean()))
