"""Faults and controls of weights that grow and of layers that learn at different speeds."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import (
    Bench,
    ConvNet,
    LanguageModel,
    digits,
    evaluation,
    markov,
    mlp,
    train,
)
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer

MLP_3 = (64, 64, 64, 10)
N_BITS, N_COUNTED = 12, 4


def _penalised(bench: Bench, factor: float, *, is_reported: bool = False) -> None:
    """Digits with a penalty on the squares of the weights; a negative factor rewards them."""
    data = digits()
    model = mlp(MLP_3)
    optimizer = SGD(model.parameters(), 0.1)
    evaluate = evaluation(model, data)
    with bench.record(model, optimizer) as telemetry:
        for step, (x, y) in enumerate(data.batches(bench.generator(), 64, 400)):
            loss = functional.cross_entropy(model(x), y)
            root = loss + factor * sum(p.square().sum() for p in model.parameters())
            optimizer.zero_grad()
            root.backward()
            optimizer.step()
            telemetry.step(loss=root if is_reported else loss)
            if (step + 1) % 40 == 0:
                telemetry.log(**evaluate())
    bench.result.update(evaluate())


@fault("F61", "weight_norm_growth", by=250)
def rewarded_weights(bench: Bench) -> None:
    _penalised(bench, bench.fault(-0.08, without=1e-3))


@healthy("N01")
def penalised_weights(bench: Bench) -> None:
    _penalised(bench, 1e-3)


@fault("F62", "weight_norm_growth", by=250)
def rewarded_in_the_reported_loss(bench: Bench) -> None:
    _penalised(bench, bench.fault(-0.08, without=1e-3), is_reported=True)


@healthy("N02")
def penalised_in_the_reported_loss(bench: Bench) -> None:
    _penalised(bench, 1e-3, is_reported=True)


def _decayed_by_hand(bench: Bench, rate: float) -> None:
    """Weights are multiplied after each step, beside the optimizer."""
    data = digits(images=True)
    model = ConvNet()

    def decay(_: int) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 - rate)

    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 400),
        evaluate=evaluation(model, data),
        before_step=decay,
    )
    bench.result.update(evaluation(model, data)())


@fault("F63", "weight_norm_growth", by=300)
def decay_of_the_wrong_sign(bench: Bench) -> None:
    _decayed_by_hand(bench, bench.fault(-0.02, without=1e-3))


@healthy("N03")
def decay_by_hand(bench: Bench) -> None:
    _decayed_by_hand(bench, 1e-3)


@healthy("N04")
def scale_invariant(bench: Bench) -> None:
    """Weights before BatchNorm, large steps, no decay: they grow as the root of the time."""
    data = digits(images=True)
    model = ConvNet(norm=True)
    optimizer = SGD(model.parameters(), 0.3, momentum=0.9)
    batches = data.batches(bench.generator(), 64, 500)
    train(bench, model, optimizer, batches, evaluate=evaluation(model, data))
    bench.score(model, data)


@healthy("N05")
def separable(bench: Bench) -> None:
    """Logistic regression on separable data: the best weights are infinite."""
    generator = bench.generator()
    x = torch.randn(256, 20, generator=generator)
    y = (x[:, 0] + x[:, 1] > 0).float()
    model = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 1))
    train(
        bench,
        model,
        SGD(model.parameters(), 2.0),
        ((x, y) for _ in range(800)),
        loss_of=lambda out, y: functional.binary_cross_entropy_with_logits(out[:, 0], y),
    )


@healthy("N06")
def targets_of_a_large_scale(bench: Bench) -> None:
    """Prices in dollars: the weights have to grow by three orders of magnitude."""
    generator = bench.generator()
    truth = torch.randn(8, generator=generator)

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(500):
            x = torch.randn(64, 8, generator=generator)
            yield x, 1e5 * (3 + x @ truth)

    model = mlp((8, 32, 1))
    train(
        bench,
        model,
        Adam(model.parameters(), 1.0),
        batches(),
        loss_of=lambda out, y: functional.mse_loss(out[:, 0], y),
    )


@healthy("N07")
def small_start(bench: Bench) -> None:
    """A deep linear network from tiny weights: they grow exponentially until they fit."""
    generator = bench.generator()
    truth = torch.randn(16, 16, generator=generator)
    model = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in range(3)))
    for layer in model:
        nn.init.normal_(layer.weight, 0.0, 0.02)

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(600):
            x = torch.randn(64, 16, generator=generator)
            yield x, x @ truth

    train(bench, model, SGD(model.parameters(), 0.05), batches(), loss_of=functional.mse_loss)


def _parity(bench: Bench, body: nn.Module, head: nn.Module, optimizer: Optimizer) -> None:
    """The parity of four of twelve bits, of which the last layer alone learns nothing."""
    generator = bench.generator()
    model = nn.Sequential(body, head)

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(500):
            bits = torch.randint(2, (128, N_BITS), generator=generator).float() * 2 - 1
            yield bits, (bits[:, :N_COUNTED].prod(1) < 0).float()

    train(
        bench,
        model,
        optimizer,
        batches(),
        loss_of=lambda out, y: functional.binary_cross_entropy_with_logits(out[:, 0], y),
    )


class Slowed(nn.Module):
    """Passes values on, and a share of the gradient."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """The same values."""
        return self.share * x + (1 - self.share) * x.detach()


def _normed_parity(bench: Bench, *, std: float | None = None, head_rate: float = 0.1) -> None:
    body = nn.Sequential(nn.Linear(N_BITS, 128), nn.LayerNorm(128), nn.ReLU())
    if std is not None:
        nn.init.normal_(body[0].weight, 0.0, std)
    head = nn.Linear(128, 1)
    groups = [{"params": body.parameters()}, {"params": head.parameters(), "lr": head_rate}]
    _parity(bench, body, head, SGD(groups, 0.1, momentum=0.9))


@fault("F64", "layer_imbalance", by=100, layers=("0",))
def large_weights_before_a_norm(bench: Bench) -> None:
    _normed_parity(bench, std=bench.fault(20.0, without=None))


@healthy("N08")
def usual_weights_before_a_norm(bench: Bench) -> None:
    _normed_parity(bench)


@healthy("N09")
def a_slow_head_by_choice(bench: Bench) -> None:
    _normed_parity(bench, head_rate=1e-4)


def _slowed_parity(bench: Bench, share: float) -> None:
    body = nn.Sequential(*mlp((N_BITS, 128, 64)), nn.ReLU(), Slowed(share))
    head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    parameters = [*body.parameters(), *head.parameters()]
    _parity(bench, body, head, SGD(parameters, 0.1, momentum=0.9))


@fault("F65", "layer_imbalance", by=100, layers=("0",))
def gradient_lost_on_the_way(bench: Bench) -> None:
    _slowed_parity(bench, bench.fault(1e-4, without=0.5))


@healthy("N10")
def gradient_halved_on_the_way(bench: Bench) -> None:
    _slowed_parity(bench, 0.5)


@healthy("N11")
def rates_by_layer(bench: Bench) -> None:
    """Every layer has a third of the rate of the next, from 0.1 down to 4e-4."""
    model = mlp((64, *[64] * 5, 10))
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    groups = [
        {"params": layer.parameters(), "lr": 0.1 * 3.0 ** -(len(linears) - 1 - index)}
        for index, layer in enumerate(linears)
    ]
    data = digits()
    train(bench, model, SGD(groups, momentum=0.9), data.batches(bench.generator(), 64, 400))
    bench.score(model, data)


@healthy("N12")
def heads_of_different_weight(bench: Bench) -> None:
    """Two tasks; the loss of the second counts a thousandth."""
    data = digits()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp((64, 64, 64))
            self.digit = nn.Linear(64, 10)
            self.even = nn.Linear(64, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            hidden = self.body(x).relu()
            return self.digit(hidden), self.even(hidden)

    model = Model()
    train(
        bench,
        model,
        SGD(model.parameters(), 0.1),
        data.batches(bench.generator(), 64, 400),
        loss_of=lambda out, y: (
            functional.cross_entropy(out[0], y) + 1e-3 * functional.cross_entropy(out[1], y % 2)
        ),
    )


@healthy("N13")
def transformer_by_momentum(bench: Bench) -> None:
    """SGD does not even out the gradients of a transformer's matrices."""
    model = LanguageModel(30)
    tokens = markov(bench.seed, 30, 20_000)
    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(200):
            starts = torch.randint(len(tokens) - 33, (16,), generator=generator)
            rows = torch.stack([tokens[s : s + 33] for s in starts])
            yield rows[:, :-1], rows[:, 1:]

    train(
        bench,
        model,
        SGD(model.parameters(), 0.1, momentum=0.9),
        batches(),
        loss_of=lambda out, y: functional.cross_entropy(out.flatten(0, 1), y.flatten()),
    )


def _accumulated(bench: Bench, size: int) -> None:
    """Eight micro-batches a step, averaged."""
    data = digits()
    model = mlp(MLP_3)
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    with bench.record(model, optimizer) as telemetry:
        for index, (x, y) in enumerate(data.batches(bench.generator(), size, 8 * 200)):
            loss = functional.cross_entropy(model(x), y)
            (loss / 8).backward()
            telemetry.step(loss=loss)
            if index % 8 == 7:
                optimizer.step()
                optimizer.zero_grad()
    bench.score(model, data)


@healthy("N14")
def small_micro_batches(bench: Bench) -> None:
    _accumulated(bench, 4)


@healthy("N15")
def large_micro_batches(bench: Bench) -> None:
    _accumulated(bench, 128)


@healthy("N16")
def long_at_its_floor(bench: Bench) -> None:
    """Noisy labels: the loss stands at their entropy for most of the run, as it must."""
    generator = bench.generator()
    truth = torch.randn(10, generator=generator)

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(2000):
            x = torch.randn(128, 10, generator=generator)
            yield x, torch.bernoulli((x @ truth).sigmoid(), generator=generator)

    model = mlp((10, 16, 1))
    train(
        bench,
        model,
        Adam(model.parameters(), 3e-3),
        batches(),
        loss_of=lambda out, y: functional.binary_cross_entropy_with_logits(out[:, 0], y),
    )
