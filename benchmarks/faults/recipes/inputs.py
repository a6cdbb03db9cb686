"""Faults and controls of what enters the network, and of what it represents."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

from collections.abc import Callable

import torch
from material import Bench, ConvNet, digits, he, mlp, train
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer


def _scaled(
    bench: Bench,
    gain: float,
    optimizer_of: Callable[[nn.Module], Optimizer],
    model: nn.Module | None = None,
) -> None:
    net = model or mlp((64, 64, 64, 10))
    data = digits()

    def batches():  # noqa: ANN202 - a generator of batches
        for x, y in data.batches(bench.generator(), 64, 300):
            yield gain * x, y

    train(bench, net, optimizer_of(net), batches())
    with torch.no_grad():
        right = net(gain * data.val_x).argmax(-1) == data.val_y
    bench.result["accuracy"] = float(right.float().mean())
    bench.result["constant"] = data.constant


@fault("F34", "input_scale", by=100)
def raw_inputs(bench: Bench) -> None:
    _scaled(bench, bench.fault(255.0, without=1.0), lambda m: SGD(m.parameters(), 0.1))


@fault("Y21", "input_scale", by=100)
def tiny_inputs(bench: Bench) -> None:
    _scaled(bench, bench.fault(1 / 255, without=1.0), lambda m: SGD(m.parameters(), 0.1))


@fault("F35", "input_scale", by=100)
def uneven_features(bench: Bench) -> None:
    generator = bench.generator()
    x = torch.randn(2000, 10, generator=generator)
    y = torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]
    scales = bench.fault(torch.logspace(-3, 4, 10), without=torch.ones(10))
    model = mlp((10, 64, 64, 1))

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(300):
            picked = torch.randint(2000, (64,), generator=generator)
            yield x[picked] * scales, y[picked]

    train(bench, model, Adam(model.parameters(), 1e-3), batches(), loss_of=functional.mse_loss)


def _images(bench: Bench, evaluated: Callable[[Tensor], Tensor]) -> None:
    model = ConvNet()
    data = digits(images=True)

    def evaluate() -> dict[str, float]:
        model.eval()
        with torch.no_grad():
            out = model(evaluated(data.val_x))
        model.train()
        found = float((out.argmax(-1) == data.val_y).float().mean())
        bench.result["val_accuracy"] = found
        loss = functional.cross_entropy(out, data.val_y)
        return {"val_loss": float(loss), "val_accuracy": found}

    batches = data.batches(bench.generator(), 64, 300)
    train(bench, model, Adam(model.parameters(), 1e-3), batches, evaluate=evaluate)


@fault("F36", "input_scale", by=150)
def raw_validation(bench: Bench) -> None:
    """Pixels of 0 to 16 where training had standardised ones."""
    _images(bench, bench.fault(lambda x: 6.0 * x + 4.9, without=lambda x: x))


@healthy("X54")
def large_inputs_adam(bench: Bench) -> None:
    _scaled(bench, 40.0, lambda m: Adam(m.parameters(), 1e-3))


@healthy("X55")
def model_divides(bench: Bench) -> None:
    """Raw pixels; the first line of the forward scales them."""

    class Divides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp((64, 64, 10), start=he)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x / 255)

    _scaled(bench, 255.0, lambda m: SGD(m.parameters(), 0.1), Divides())


@healthy("H24")
def dollars_into_norm(bench: Bench) -> None:
    generator = bench.generator()
    x = torch.randn(2000, 10, generator=generator)
    y = torch.sin(x[:, :1]) + x[:, 1:2]
    scales = torch.logspace(0, 5, 10)
    model = nn.Sequential(nn.BatchNorm1d(10), mlp((10, 64, 1)))

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(300):
            picked = torch.randint(2000, (64,), generator=generator)
            yield x[picked] * scales, y[picked]

    train(bench, model, Adam(model.parameters(), 3e-3), batches(), loss_of=functional.mse_loss)


@healthy("X56")
def noised_training(bench: Bench) -> None:
    """Strong noise and erased pixels in training, clean images in evaluation."""
    model = ConvNet()
    data = digits(images=True)
    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for x, y in data.batches(bench.generator(), 64, 300):
            kept = (torch.rand(x.shape, generator=generator) > 0.3).float()
            yield kept * (x + torch.randn(x.shape, generator=generator)), y

    def evaluate() -> dict[str, float]:
        with torch.no_grad():
            out = model(data.val_x)
        return {"val_loss": float(functional.cross_entropy(out, data.val_y))}

    train(bench, model, Adam(model.parameters(), 1e-3), batches(), evaluate=evaluate)
    bench.score(model, data)


def _views(bench: Bench, loss_of: Callable[[Tensor, Tensor], Tensor], *, steps: int = 300) -> None:
    """Two noisy views of each digit; nearest neighbours in the embedding tell what was learned."""
    model = mlp((64, 64, 64, 32))
    data = digits()
    optimizer = Adam(model.parameters(), 1e-3)
    generator = bench.generator()
    with bench.record(model, optimizer) as telemetry:
        for x, _ in data.batches(bench.generator(), 64, steps):
            noise = 0.3 * torch.randn(2, *x.shape, generator=generator)
            loss = loss_of(model(x + noise[0]), model(x + noise[1]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            bench.result["loss"] = float(loss.detach())
    with torch.no_grad():
        known, asked = model(data.x), model(data.val_x)
    nearest = torch.cdist(asked, known).argmin(-1)
    bench.result["constant"] = data.constant
    bench.result["neighbour_accuracy"] = float((data.y[nearest] == data.val_y).float().mean())


def _kept_apart(a: Tensor, b: Tensor) -> Tensor:
    """Views of one sample are alike, and samples differ."""
    apart = sum(functional.relu(1 - z.std(0)).mean() for z in (a, b))
    return (a - b).square().mean() + apart


@fault("F48", "representation_collapse", by=300)
def no_negatives(bench: Bench) -> None:
    def alike(a: Tensor, b: Tensor) -> Tensor:
        return (1 - functional.cosine_similarity(a, b)).mean()

    _views(bench, bench.fault(alike, without=_kept_apart))


@fault("Y22", "representation_collapse", by=300)
def distance_of_directions(bench: Bench) -> None:
    """Squared distances of directions."""

    def loss_of(a: Tensor, b: Tensor) -> Tensor:
        a, b = functional.normalize(a, dim=1), functional.normalize(b, dim=1)
        return (a - b).square().sum(1).mean()

    _views(bench, bench.fault(loss_of, without=_kept_apart))


@healthy("X57")
def variance_term(bench: Bench) -> None:
    _views(bench, _kept_apart)


@healthy("X58")
def offset_targets(bench: Bench) -> None:
    """Sixteen temperatures in Kelvin by an own loss: outputs share their mean, as they should."""
    generator = bench.generator()
    x = torch.randn(2000, 10, generator=generator)
    y = 280 + 5 * torch.sin(x @ torch.randn(10, 16, generator=generator))
    model = mlp((10, 64, 64, 16))

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(600):
            picked = torch.randint(2000, (64,), generator=generator)
            yield x[picked], y[picked]

    def loss_of(out: Tensor, truth: Tensor) -> Tensor:
        return (out - truth).abs().mean()

    train(bench, model, Adam(model.parameters(), 1e-2), batches(), loss_of=loss_of)
