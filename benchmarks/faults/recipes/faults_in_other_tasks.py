"""Further faults in other tasks and shapes than those of the table."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import math

import torch
from material import (
    Bench,
    ConvNet,
    LanguageModel,
    Recurrent,
    digits,
    evaluation,
    he,
    markov,
    mlp,
    normal,
    train,
    xavier,
)
from recipe import fault
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW


def _language(bench: Bench, optimizer_of: object, model: LanguageModel, steps: int = 150) -> None:
    vocabulary = model.embed.num_embeddings
    tokens = markov(bench.seed, vocabulary, 20_000)
    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(steps):
            starts = torch.randint(len(tokens) - 33, (16,), generator=generator)
            rows = torch.stack([tokens[s : s + 33] for s in starts])
            yield rows[:, :-1], rows[:, 1:]

    train(
        bench,
        model,
        optimizer_of(model),  # type: ignore[operator]
        batches(),
        loss_of=lambda out, y: functional.cross_entropy(out.flatten(0, 1), y.flatten()),
    )


def _classify(
    bench: Bench,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int = 300,
    gain: float = 1.0,
) -> None:
    data = digits(images=isinstance(model, ConvNet))

    def batches():  # noqa: ANN202 - a generator of batches
        for x, y in data.batches(bench.generator(), 64, steps):
            yield gain * x, y

    train(bench, model, optimizer, batches())
    bench.score(model, data)


@fault("F15", "learning_rate_too_high", "schedule", by=60)
def transformer_high(bench: Bench) -> None:
    _language(
        bench, lambda m: AdamW(m.parameters(), bench.fault(0.3, without=3e-3)), LanguageModel(30)
    )


@fault("Y01", "vanishing_gradient", by=100)
def summed_sigmoid(bench: Bench) -> None:
    model = mlp(
        (64, *[64] * 9, 10),
        bench.fault(nn.Sigmoid, without=nn.ReLU),
        start=bench.fault(None, without=he),
    )
    data = digits()
    train(
        bench,
        model,
        SGD(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 300),
        loss_of=lambda out, y: functional.cross_entropy(out, y, reduction="sum"),
    )


@fault("Y02", "vanishing_gradient", by=100)
def sigmoid_regression(bench: Bench) -> None:
    generator = bench.generator()
    x = torch.randn(2000, 10, generator=generator)
    y = torch.sin(x[:, :1] * 2) + x[:, 1:2] * x[:, 2:3]
    model = mlp(
        (10, *[32] * 9, 1),
        bench.fault(nn.Sigmoid, without=nn.ReLU),
        start=bench.fault(None, without=he),
    )

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(400):
            picked = torch.randint(2000, (64,), generator=generator)
            yield x[picked], y[picked]

    train(bench, model, Adam(model.parameters(), 1e-3), batches(), loss_of=functional.mse_loss)


@fault("Y03", "learning_rate_too_high", by=30)
def regression_high(bench: Bench) -> None:
    generator = bench.generator()
    x = torch.randn(2000, 10, generator=generator)
    y = torch.sin(x[:, :1]) + x[:, 1:2]
    model = mlp((10, 64, 64, 1))

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(200):
            picked = torch.randint(2000, (64,), generator=generator)
            yield x[picked], y[picked]

    train(
        bench,
        model,
        SGD(model.parameters(), bench.fault(1.5, without=0.05)),
        batches(),
        loss_of=functional.mse_loss,
    )


@fault("Y04", "non_finite", by=200)
def log_of_zero(bench: Bench) -> None:
    """Own cross-entropy: log of a probability that underflows."""
    model = mlp((64, 64, 10))
    data = digits()
    train(
        bench,
        model,
        Adam(model.parameters(), 0.01),
        data.batches(bench.generator(), 64, 250),
        loss_of=bench.fault(
            lambda out, y: (
                -((40 * out).softmax(-1)[torch.arange(len(y)), y].log().clamp(min=-math.inf).mean())
            ),
            without=lambda out, y: functional.cross_entropy(40 * out, y),
        ),
    )
    bench.score(model, data)


@fault("Y05", "non_finite", by=1)
def root_of_zero(bench: Bench) -> None:
    """The derivative of a square root at zero."""
    model = mlp((64, 64, 10))
    data = digits()
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 60),
        loss_of=bench.fault(
            lambda out, y: (
                functional.cross_entropy(out, y) + 1e-3 * (out - out.detach()).square().sum().sqrt()
            ),
            without=functional.cross_entropy,
        ),
    )
    bench.score(model, data)


@fault("Y06", "non_finite", by=60)
def bad_batch(bench: Bench) -> None:
    model = mlp((64, 64, 10))
    data = digits()

    def batches():  # noqa: ANN202 - a generator of batches
        for step, (x, y) in enumerate(data.batches(bench.generator(), 64, 120)):
            if step == bench.fault(50, without=-1):
                x = x.clone()  # noqa: PLW2901 - one batch is broken
                x[3, 5] = float("nan")
            yield x, y

    train(bench, model, Adam(model.parameters(), 1e-3), batches())
    bench.score(model, data)


@fault("Y07", "dead_units", "poor_initialization", by=60)
def dead_convolution(bench: Bench) -> None:
    model = ConvNet()
    nn.init.constant_(model.conv2.bias, bench.fault(-10.0, without=0.0))
    _classify(bench, model, SGD(model.parameters(), 0.05))


@fault("Y08", "unchanged_parameters", by=20)
def foreign_model(bench: Bench) -> None:
    """The optimizer was built from another copy of the model."""
    model = mlp((64, 64, 10))
    other = mlp((64, 64, 10))
    _classify(bench, model, Adam(bench.fault(other, without=model).parameters(), 1e-3))


@fault("Y09", "unchanged_parameters", by=20)
def detached_embedding(bench: Bench) -> None:
    is_cut = bench.is_faulty

    class Cut(LanguageModel):
        def forward(self, tokens: Tensor) -> Tensor:
            n = tokens.shape[1]
            x = self.embed(tokens) + self.positions[:n]
            for block in self.blocks:
                x = block(x)
            x = self.norm(x)
            return self.head(x.detach() if is_cut else x)

    _language(bench, lambda m: AdamW(m.parameters(), 1e-3), Cut(30))


@fault("Y10", "overfitting", by=2000)
def small_language_data(bench: Bench) -> None:
    tokens = markov(bench.seed, 20, bench.fault(500, without=20_000))
    held = markov(bench.seed, 20, 3000)[1000:]
    model = LanguageModel(20, 48, 2)
    generator = bench.generator()

    def rows(source: Tensor, n: int) -> Tensor:
        starts = torch.randint(len(source) - 17, (n,), generator=generator)
        return torch.stack([source[s : s + 17] for s in starts])

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(500):
            picked = rows(tokens, 16)
            yield picked[:, :-1], picked[:, 1:]

    def loss_of(out: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(out.flatten(0, 1), y.flatten())

    def evaluate() -> dict[str, float]:
        picked = rows(held, 64)
        with torch.no_grad():
            return {"val_loss": float(loss_of(model(picked[:, :-1]), picked[:, 1:]))}

    train(
        bench,
        model,
        AdamW(model.parameters(), 3e-3),
        batches(),
        loss_of=loss_of,
        evaluate=evaluate,
        every=25,
    )
    bench.result |= evaluate()


@fault("Y11", "learning_rate_too_high", by=60)
def lstm_high(bench: Bench) -> None:
    generator = bench.generator()
    model = Recurrent("LSTM", 8)
    tokens = markov(bench.seed, 8, 10_000)

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(150):
            starts = torch.randint(len(tokens) - 21, (32,), generator=generator)
            rows = torch.stack([tokens[s : s + 21] for s in starts])
            yield functional.one_hot(rows[:, :-1], 8).float(), rows[:, -1]

    train(bench, model, Adam(model.parameters(), bench.fault(1.0, without=1e-2)), batches())


@fault("Y12", "input_scale", "saturated_units", "poor_initialization", by=100)
def unscaled_tanh(bench: Bench) -> None:
    """Inputs a hundred times too large into deep tanh."""
    model = mlp((64, *[64] * 6, 10), nn.Tanh, start=bench.fault(normal(0.8), without=xavier))
    _classify(bench, model, SGD(model.parameters(), 0.05), gain=bench.fault(100.0, without=1.0))


@fault("Y13", "schedule", "learning_rate_too_high", by=60)
def late_jump(bench: Bench) -> None:
    """The rate is multiplied by 300 in mid-training."""
    model = mlp((64, 64, 64, 10), start=he)
    data = digits()
    optimizer = Adam(model.parameters(), 1e-3)

    def jump(step: int) -> None:
        if step == bench.fault(50, without=-1):
            optimizer.param_groups[0]["lr"] = 0.3

    train(
        bench,
        model,
        optimizer,
        data.batches(bench.generator(), 64, 250),
        before_step=jump,
        evaluate=evaluation(model, data),
    )
    bench.score(model, data)


@fault("Y14", "vanishing_gradient", "poor_initialization", by=100)
def small_convolutions(bench: Bench) -> None:
    layers: list[nn.Module] = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU()]
    for _ in range(7):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 64, 10))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, bench.fault(0.01, without=0.2))
            nn.init.zeros_(module.bias)

    class Wrapped(ConvNet):
        def __init__(self) -> None:
            super().__init__()
            del self.conv1, self.conv2, self.norm1, self.norm2, self.head
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    model = Wrapped()
    _classify(bench, model, SGD(model.parameters(), 0.05))


@fault("Y15", "learning_rate_too_high", by=60)
def convnet_sgd_high(bench: Bench) -> None:
    model = ConvNet()
    _classify(bench, model, SGD(model.parameters(), bench.fault(2.0, without=0.05), momentum=0.9))
