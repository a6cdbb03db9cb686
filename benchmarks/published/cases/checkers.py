"""Bugs that TheDeepChecker, UMLAUT and AUTOTRAINER were shown."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Trial, case
from published.keras_like import Compiled, adam, categorical_crossentropy, dense
from published.material import accuracy, batches, digits, images, unexplained

CHECKER = "thedeepchecker/thedeepchecker (bugs of Zhang et al., ISSTA 2018)"


class _Line(nn.Module):
    """Parameters by hand, which start at zero."""

    def __init__(self, n_in: int, *, has_bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_in, 1))
        self.bias = nn.Parameter(torch.zeros(1)) if has_bias else None

    def forward(self, x: Tensor) -> Tensor:
        out = x @ self.weight
        return out if self.bias is None else out + self.bias


def _fitted(trial: Trial, x: Tensor, y: Tensor, *, rate: float, steps: int, half: bool) -> Reached:
    """A line by descent on all rows."""
    model = _Line(x.shape[1], has_bias=not half)
    optimizer = SGD(model.parameters(), lr=rate)
    telemetry = trial.record(model, optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (y - model(x)).square().sum() / (len(x) * (2 if half else 1))
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(x), y))


@case(
    "deepchecker-IPS_5",
    source=f"{CHECKER}, IPS_5",
    wrong="rate .1 for a line on x in -8 to 8",
    mended="rate .01",
)
def line_of_eight_points(trial: Trial) -> Reached:
    """Overshoots with every step."""
    x = 16 * torch.rand(8, 1, generator=trial.generator) - 8
    y = 5.3 * x - 3.1 + 2 * torch.rand(8, 1, generator=trial.generator) - 1
    return _fitted(trial, x, y, rate=trial.pick(0.1, fixed=0.01), steps=200, half=False)


@case(
    "deepchecker-IPS_15",
    source=f"{CHECKER}, IPS_15",
    wrong="rate .5 for a line on x in 0 to 99",
    mended="rate 1e-4",
)
def line_of_hundred_points(trial: Trial) -> Reached:
    """Overshoots with every step."""
    x = torch.stack([torch.arange(100.0), torch.ones(100)], 1)
    y = x @ torch.tensor([[2.0], [4.0]]) + 10 * torch.rand(100, 1, generator=trial.generator)
    return _fitted(trial, x, y, rate=trial.pick(0.5, fixed=1e-4), steps=200, half=True)


def _truncated(module: nn.Module) -> None:
    """Weights and biases as the source starts them."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.1, a=-0.2, b=0.2)
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.1)


@case(
    "deepchecker-IPS_11",
    source=f"{CHECKER}, IPS_11",
    wrong="logits are rectified",
    mended="linear logits",
    ported="digits of 8 x 8, channels a quarter, 256 units, 300 steps",
)
def rectified_logits(trial: Trial) -> Reached:
    """A class whose logit is negative is never heard of again."""
    data = images()
    end = trial.pick(nn.ReLU(), fixed=nn.Identity())
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10), end),
    )
    model.apply(_truncated)
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(11):
        for x, y in batches(data.x, data.y, 50, trial.generator):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "deepchecker-TFE_333",
    source=f"{CHECKER}, TFE_333",
    wrong="N(0,1) weights, rate .001, log(softmax)",
    mended="zeros, rate .5",
    ported="digits of 8 x 8, 20 epochs",
)
def logistic_regression(trial: Trial) -> Reached:
    """Starts far away, and takes small steps."""
    data = digits()
    model = nn.Linear(64, 10)
    start = trial.pick(nn.init.normal_, fixed=nn.init.zeros_)
    start(model.weight)
    start(model.bias)
    optimizer = SGD(model.parameters(), lr=trial.pick(0.001, fixed=0.5))
    telemetry = trial.record(model, optimizer)
    for _ in range(20):
        for x, y in batches(data.x, functional.one_hot(data.y).float(), 100, trial.generator):
            told = torch.softmax(model(x), -1)
            cost = -(y * torch.log(told)).sum(1).mean()
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            telemetry.step(loss=cost)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "deepchecker-TFE_bc09f95",
    source=f"{CHECKER}, TFE_bc09f95",
    wrong="loss summed over the batch with rate .01, N(0,1) weights",
    mended="mean, Glorot",
    ported="digits of 8 x 8, 20 epochs",
)
def summed_loss(trial: Trial) -> Reached:
    """A hundred times the rate that was meant."""
    data = digits()
    start = trial.pick("unit", fixed="glorot")
    model = nn.Sequential(
        *(dense(64, 256, start), nn.ReLU(), dense(256, 256, start), nn.ReLU()),
        dense(256, 10, start),
    )
    optimizer = SGD(model.parameters(), lr=0.01)
    telemetry = trial.record(model, optimizer)
    reduction = trial.pick("sum", fixed="mean")
    for _ in range(20):
        for x, y in batches(data.x, data.y, 100, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y, reduction=reduction)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "umlaut-eval_b",
    source="https://github.com/BerkeleyHCI/umlaut/blob/master/user_eval/eval_b.py",
    wrong="no activations, rate 1e3, validation on the first training images",
    mended="rectified, .001, a held-out split",
    ported="digits of 8 x 8, channels a quarter; the file has -1e3, which torch refuses",
)
def three_slips(trial: Trial) -> Reached:
    """A rate of a thousand, lines only, and a validation that says nothing."""
    data = images()
    unit = trial.pick(nn.Identity, fixed=nn.ReLU)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), unit(), nn.Conv2d(16, 16, 3, padding=1), unit()),
        *(nn.MaxPool2d(2), nn.Dropout(0.2)),
        *(nn.Conv2d(16, 32, 3, padding=1), unit(), nn.Conv2d(32, 32, 3, padding=1), unit()),
        *(nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten()),
        *(dense(128, 128), unit(), dense(128, 128), unit(), nn.Dropout(0.2), dense(128, 10)),
    )
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=adam(model, trial.pick(1e3, fixed=1e-3)),
        loss_of=functional.cross_entropy,
    )
    held_out = trial.pick((data.x[:100], data.y[:100]), fixed=(data.val_x, data.val_y))
    network.fit(data.x, data.y, epochs=10, batch_size=128, validation_data=held_out)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "autotrainer-improper-activation",
    source="https://github.com/shiningrain/AUTOTRAINER, demo_case/Improper_Activation_case",
    wrong="rectified output with categorical crossentropy",
    mended="softmax",
    ported="digits of 8 x 8, two convolutions",
)
def rectified_probabilities(trial: Trial) -> Reached:
    """Zero is no probability."""
    data = images()
    head = trial.pick(nn.ReLU(), fixed=nn.Softmax(-1))
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(dense(64, 64), nn.ReLU(), dense(64, 10), head),
    )

    def crossentropy(out: Tensor, target: Tensor) -> Tensor:
        return categorical_crossentropy(out + 1e-7, functional.one_hot(target, 10).float())

    network = Compiled(trial=trial, model=model, optimizer=adam(model), loss_of=crossentropy)
    network.fit(data.x, data.y, epochs=6)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "autotrainer-dying-relu",
    source="https://github.com/shiningrain/AUTOTRAINER, Motivation/DyingReLU",
    wrong="34 layers of 128 rectified units, Glorot",
    mended="He, and BatchNorm (AUTOTRAINER's repair)",
    ported="digits of 8 x 8, 19 layers, 250 steps",
)
def nineteen_layers(trial: Trial) -> Reached:
    """What the last layer sees is the same for all inputs."""
    data = digits()
    layers: list[nn.Module] = []
    n_in = 64
    for _ in range(19):
        layer = nn.Linear(n_in, 128)
        nn.init.zeros_(layer.bias)
        if trial.fixed:
            nn.init.kaiming_uniform_(layer.weight, a=0, nonlinearity="relu")
        else:
            nn.init.xavier_uniform_(layer.weight)
        layers += [layer, *([nn.BatchNorm1d(128)] if trial.fixed else []), nn.ReLU()]
        n_in = 128
    model = nn.Sequential(*layers, dense(128, 10))
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=SGD(model.parameters(), lr=0.01),
        loss_of=functional.cross_entropy,
    )
    network.fit(data.x, data.y, epochs=math.ceil(250 / 44), batch_size=32)
    return Reached(share=accuracy(model, data.val_x, data.val_y))
