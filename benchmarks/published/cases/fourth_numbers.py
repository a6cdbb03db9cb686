"""A fourth set: numbers to be told, equations, and series."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from published.case import Reached, Trial, case
from published.material import batches, unexplained

FLOOR = 0.02  # of a distance from what is right


@case(
    "darts-1162",
    source="https://github.com/unit8co/darts/pull/1162",
    wrong="GaussianLikelihood gives the deviation to a loss that takes the variance",
    mended="its square",
    ported="the next of a noisy wave by a GRU, noise of .25; reached: how far the share within two "
    "deviations is from 95 percent",
)
def deviation_for_the_variance(trial: Trial) -> Reached:
    """Too sure of itself."""
    n, length = 600, 24
    start = 6.28 * torch.rand(n, 1, generator=trial.generator)
    wave = torch.sin(start + 0.5 * torch.arange(length + 1.0))
    wave = wave + 0.25 * torch.randn(wave.shape, generator=trial.generator)
    x, y = wave[:, :-1, None], wave[:, -1]

    class _Forecast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(1, 24, batch_first=True), nn.Linear(24, 2)

        def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
            mean, raw = self.out(self.rnn(series)[0][:, -1]).unbind(-1)
            return mean, functional.softplus(raw)

    model = _Forecast()
    optimizer = Adam(model.parameters(), lr=1e-2)
    criterion = nn.GaussianNLLLoss(eps=1e-4)
    telemetry = trial.record(model, optimizer)

    def loss_of(series: Tensor, target: Tensor) -> Tensor:
        mean, deviation = model(series)
        spread = deviation.square() if trial.fixed else deviation
        loss: Tensor = criterion(mean, target, spread)
        return loss

    for _ in range(12):
        model.train()
        for series, target in batches(x[:480], y[:480], 32, trial.generator):
            loss = loss_of(series, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            telemetry.log(val_loss=loss_of(x[480:], y[480:]))
    with torch.no_grad():
        mean, deviation = model(x[480:])
    within = ((mean - y[480:]).abs() < 2 * deviation).float().mean()
    return Reached(error=abs(float(within) - 0.954) + FLOOR)


def _solver(inputs: int = 1) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    )


def _slope(of: Tensor, by: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(of.sum(), by, create_graph=True)
    return slope


@case(
    "neuraloperator-619",
    source="https://github.com/neuraloperator/neuraloperator/pull/619",
    wrong="the loss of Poisson's equation adds the weight of the interior to its loss",
    mended="multiplied",
    ported="one dimension, forces of up to 160, a weight of 1e-3 for the interior; Adam .003",
)
def weight_is_added(trial: Trial) -> Reached:
    """The boundary is drowned by the interior."""
    model = _solver()
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    wide = 4 * torch.pi
    edge = torch.tensor([[0.0], [1.0]])
    value = torch.tensor([[2.0], [-1.0]])
    weight = 1e-3
    for _ in range(500):
        x = torch.rand(64, 1, generator=trial.generator).requires_grad_()
        bend = _slope(_slope(model(x), x), x)
        interior = functional.mse_loss(bend, -(wide**2) * torch.sin(wide * x))
        boundary = functional.mse_loss(model(edge), value)
        loss = boundary + (weight * interior if trial.fixed else weight + interior)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss, boundary=boundary, interior=interior)
    grid = torch.linspace(0, 1, 101)[:, None]
    right = torch.sin(wide * grid) + 2 - 3 * grid
    with torch.no_grad():
        return Reached(error=unexplained(model(grid), right))


@case(
    "paddlescience-195",
    source="https://github.com/PaddlePaddle/PaddleScience/pull/195",
    wrong="Neumann's condition takes the normal in the wrong direction",
    mended="outwards",
    ported="heat in a rod: u'' = -2, u(0) = 1, a flow of 1.5 out of the end; Adam .002",
)
def normal_points_inwards(trial: Trial) -> Reached:
    """Heat that comes in where it should go."""
    model = _solver()
    optimizer = Adam(model.parameters(), lr=2e-3)
    telemetry = trial.record(model, optimizer)
    normal = trial.pick(-1.0, fixed=1.0)
    start = torch.zeros(1, 1)
    for _ in range(400):
        x = torch.rand(32, 1, generator=trial.generator).requires_grad_()
        end = torch.ones(1, 1, requires_grad=True)
        interior = (_slope(_slope(model(x), x), x) + 2).square().mean()
        flow = (normal * _slope(model(end), end) - 1.5).square().mean()
        fixed_end = (model(start) - 1).square().mean()
        loss = interior + 10 * (flow + fixed_end)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss, interior=interior, flow=flow, fixed_end=fixed_end)
    grid = torch.linspace(0, 1, 101)[:, None]
    right = 1 + 3.5 * grid - grid.square()
    with torch.no_grad():
        return Reached(error=unexplained(model(grid), right) + 1e-3)


@case(
    "pytorch-forecasting-182",
    source="https://github.com/sktime/pytorch-forecasting/issues/182",
    wrong="the decoder of DeepAR is fed the scaled target of the step that it predicts",
    mended="the target of the step before",
    ported="sums of two waves in noise, by a GRU; reached: error with its own predictions as input",
)
def target_is_fed(trial: Trial) -> Reached:
    """The answer is in the question."""
    n, length = 500, 30
    phase = 6.28 * torch.rand(n, 2, 1, generator=trial.generator)
    time = torch.arange(length + 1.0)
    wave = torch.sin(phase[:, 0] + 0.6 * time) + 0.5 * torch.sin(phase[:, 1] + 1.3 * time)
    wave = wave + 0.1 * torch.randn(wave.shape, generator=trial.generator)

    class _DeepAR(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(1, 32, batch_first=True), nn.Linear(32, 1)

        def forward(self, fed: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
            hidden, state = self.rnn(fed[..., None], state)
            return self.out(hidden).squeeze(-1), state

    model = _DeepAR()
    optimizer = Adam(model.parameters(), lr=4e-3)
    telemetry = trial.record(model, optimizer)
    shift = trial.pick(0, fixed=1)
    target = wave[:, 1:]
    fed = wave[:, 1 - shift : length + 1 - shift]
    for _ in range(20):
        model.train()
        for inputs, wanted in batches(fed[:400], target[:400], 25, trial.generator):
            loss = functional.mse_loss(model(inputs)[0], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            telemetry.log(val_loss=functional.mse_loss(model(fed[400:])[0], target[400:]))
    with torch.no_grad():
        told, state = model(wave[400:, :22])
        last, made = told[:, -1:], []
        for _step in range(9):
            made.append(last)
            last, state = model(last, state)
    return Reached(error=unexplained(torch.cat(made, 1), wave[400:, 22:31]))


@case(
    "stackoverflow-67248908",
    source="https://stackoverflow.com/questions/67248908",
    wrong="loss.backward() is missing, and outputs (1000, 1) meet targets (1000)",
    mended="both are put right",
    ported="as it is: the sum of two numbers, Adam .01; 300 steps for 5,000",
)
def nothing_is_propagated(trial: Trial) -> Reached:
    """A loss that is only printed."""
    x = torch.rand(1000, 2, generator=trial.generator)
    y = x[:, 0] + x[:, 1]
    model = nn.Sequential(nn.Linear(2, 1))
    criterion = nn.MSELoss()
    optimizer = Adam(model.parameters(), lr=1e-2)
    telemetry = trial.record(model, optimizer)
    for _ in range(300):
        out = model(x)
        loss = criterion(out.squeeze(1) if trial.fixed else out, y)
        optimizer.zero_grad()
        if trial.fixed:
            loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(x), y))
