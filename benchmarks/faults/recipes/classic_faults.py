"""Faulty recipes: an id, the roots that count as right, and by when."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import math

import torch
from material import (
    Bench,
    ConvNet,
    Data,
    Recurrent,
    Residual,
    blobs,
    constant,
    digits,
    evaluation,
    he,
    mlp,
    normal,
    train,
    xavier,
)
from recipe import fault
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

DEEP_8 = (64, *[64] * 7, 10)
DEEP_10 = (64, *[64] * 9, 10)
MLP_3 = (64, 64, 64, 10)


def _digits_run(
    bench: Bench, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int
) -> None:
    data = digits(images=isinstance(model, ConvNet))
    train(bench, model, optimizer, data.batches(bench.generator(), 64, steps))
    bench.score(model, data)


@fault("F01", "vanishing_gradient", by=100, layers=("0", "2", "4", "6"))
def sigmoid_stack(bench: Bench) -> None:
    model = mlp(
        DEEP_8,
        bench.fault(nn.Sigmoid, without=nn.ReLU),
        start=bench.fault(None, without=he),
    )
    _digits_run(bench, model, Adam(model.parameters(), 1e-3), 300)


@fault("F02", "poor_initialization", "vanishing_gradient", by=20)
def small_tanh(bench: Bench) -> None:
    model = mlp(DEEP_10, nn.Tanh, start=bench.fault(normal(0.01), without=xavier))
    _digits_run(bench, model, SGD(model.parameters(), 0.1), 300)


@fault("F03", "poor_initialization", "exploding_gradient", by=10)
def large_relu(bench: Bench) -> None:
    model = mlp(DEEP_10, nn.ReLU, start=bench.fault(normal(1.0), without=he))
    _digits_run(bench, model, SGD(model.parameters(), 0.01), 200)


@fault("F04", "poor_initialization", "saturated_units", by=50)
def large_tanh(bench: Bench) -> None:
    model = mlp(DEEP_10, nn.Tanh, start=bench.fault(normal(1.0), without=xavier))
    _digits_run(bench, model, Adam(model.parameters(), 1e-3), 300)


@fault("F05", "poor_initialization", by=10, layers=("0", "2"))
def constant_start(bench: Bench) -> None:
    model = mlp(MLP_3, start=bench.fault(constant(0.05), without=he))
    _digits_run(bench, model, Adam(model.parameters(), 1e-3), 300)


@fault("F06", "poor_initialization", by=10)
def zero_start(bench: Bench) -> None:
    model = mlp(MLP_3, start=bench.fault(constant(0.0), without=he))
    _digits_run(bench, model, Adam(model.parameters(), 1e-3), 300)


def _recall(bench: Bench, model: Recurrent, length: int, steps: int, rate: float) -> None:
    """Name the first token of a sequence, from its last step."""
    generator = bench.generator()
    optimizer = Adam(model.parameters(), rate)

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(steps):
            tokens = torch.randint(8, (32, length), generator=generator)
            yield functional.one_hot(tokens, 8).float(), tokens[:, 0]

    train(bench, model, optimizer, batches())


@fault("F09", "exploding_gradient", "poor_initialization", by=30, layers=("rnn",))
def large_recurrence(bench: Bench) -> None:
    model = Recurrent("RNN", 8)
    with torch.no_grad():
        model.rnn.weight_hh_l0.mul_(bench.fault(4, without=1))
    _recall(bench, model, 60, 300, 1e-3)


@fault("F10", "dead_units", "poor_initialization", by=30, layers=("0", "1", "2", "3"))
def negative_bias(bench: Bench) -> None:
    model = mlp(MLP_3)
    for layer in (model[0], model[2]):
        nn.init.constant_(layer.bias, bench.fault(-3.0, without=0.0))
    _digits_run(bench, model, Adam(model.parameters(), 1e-3), 300)


@fault("F11", "learning_rate_too_high", by=100)
def adam_high(bench: Bench) -> None:
    model = mlp(MLP_3)
    _digits_run(bench, model, Adam(model.parameters(), bench.fault(0.1, without=1e-3)), 300)


class DeepConvNet(ConvNet):
    """Four convolutions without normalisation and a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv4 = nn.Conv2d(32, 32, 3, padding=1)
        self.hidden = nn.Linear(32 * 4, 64)
        self.head = nn.Linear(64, 10)

    def features(self, x: Tensor) -> Tensor:
        """Flat features."""
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        x = functional.max_pool2d(x, 2)
        x = functional.relu(self.conv4(functional.relu(self.conv3(x))))
        return functional.relu(self.hidden(functional.max_pool2d(x, 2).flatten(1)))


@fault("F12", "learning_rate_too_high", "dead_units", by=60)
def convnet_high(bench: Bench) -> None:
    model = DeepConvNet()
    _digits_run(bench, model, Adam(model.parameters(), bench.fault(0.03, without=1e-3)), 300)


@fault("F13", "learning_rate_too_high", by=30)
def sgd_high(bench: Bench) -> None:
    model = mlp(MLP_3)
    _digits_run(bench, model, SGD(model.parameters(), bench.fault(3.0, without=0.1)), 200)


@fault("F14", "learning_rate_too_high", by=60)
def residual_high(bench: Bench) -> None:
    model = Residual(4)
    _digits_run(bench, model, Adam(model.parameters(), bench.fault(1.0, without=1e-3)), 200)


@fault("F22", "gradient_ascent", by=30)
def negated_loss(bench: Bench) -> None:
    """Backward from minus the loss; what is reported is the loss."""
    model = mlp(MLP_3)
    data = digits()
    optimizer = Adam(model.parameters(), 1e-3)
    with bench.record(model, optimizer) as telemetry:
        for x, y in data.batches(bench.generator(), 64, 100):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            bench.fault(-loss, without=loss).backward()
            optimizer.step()
            telemetry.step(loss=loss)
            bench.result["loss"] = float(loss.detach())


@fault("F22x", "gradient_ascent", by=30)
def reported_negated(bench: Bench) -> None:
    """The same where minus the loss is reported."""
    model = mlp(MLP_3)
    data = digits()
    sign = bench.fault(-1, without=1)
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 100),
        loss_of=lambda out, y: sign * functional.cross_entropy(out, y),
    )
    bench.score(model, data)


@fault("F23", "gradient_ascent", by=30)
def maximised(bench: Bench) -> None:
    generator = bench.generator()
    model = mlp((10, 64, 64, 1))
    x = torch.randn(2000, 10, generator=generator)
    y = torch.sin(x[:, :1]) + x[:, 1:2]

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(150):
            picked = torch.randint(2000, (64,), generator=generator)
            yield x[picked], y[picked]

    optimizer = Adam(model.parameters(), 1e-3, maximize=bench.is_faulty)
    train(bench, model, optimizer, batches(), loss_of=functional.mse_loss)


@fault("F26", "unchanged_parameters", by=20, layers=("head",))
def head_left_out(bench: Bench) -> None:
    model = ConvNet()
    left_out = bench.fault(("head",), without=())
    parameters = [p for name, p in model.named_parameters() if not name.startswith(left_out)]
    _digits_run(bench, model, Adam(parameters, 1e-3), 300)


@fault("F27", "unchanged_parameters", by=20, layers=("conv1", "conv2", "norm"))
def detached_features(bench: Bench) -> None:
    model = ConvNet()
    model.cut = bench.is_faulty
    _digits_run(bench, model, Adam(model.parameters(), 1e-3), 300)


@fault("F28", "unchanged_parameters", by=20, layers=("2",))
def layer_made_anew(bench: Bench) -> None:
    model = mlp(MLP_3)
    optimizer = Adam(model.parameters(), 1e-3)
    if bench.is_faulty:
        model[2] = nn.Linear(64, 64)
    _digits_run(bench, model, optimizer, 300)


@fault("F41", "label_noise", "overfitting", by=1200)
def noisy_labels(bench: Bench) -> None:
    data = digits()
    generator = bench.generator()
    wrong = torch.rand(len(data.y), generator=generator) < bench.fault(0.4, without=0.0)
    random = torch.randint(10, (len(data.y),), generator=generator)
    data = Data(x=data.x, y=torch.where(wrong, random, data.y), val_x=data.val_x, val_y=data.val_y)
    model = mlp((64, 256, 256, 10))
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(generator, 64, 1200),
        evaluate=evaluation(model, data),
        every=60,
    )
    bench.score(model, data)


@fault("F42", "overfitting", "label_noise", by=1000)
def few_samples(bench: Bench) -> None:
    data = blobs(bench.seed, n=bench.fault(80, without=2000), n_val=1000, flip=0.15)
    model = mlp((20, 256, 256, 2))
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-4),
        data.batches(bench.generator(), 32, 1500),
        evaluate=evaluation(model, data),
        every=50,
    )
    bench.score(model, data)


class MaskedMean(nn.Module):
    """Divides a masked sum by the size of the mask."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mean over the masked entries."""
        return (x * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True)


class Masked(nn.Module):
    """A residual net whose pooling divides by the size of a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Residual(2)
        self.pool = MaskedMean()
        self.mask = torch.ones(64)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.body(x) + self.pool(x, self.mask)


@fault("F54", "non_finite", by=101, layers=("pool",))
def empty_mask(bench: Bench) -> None:
    model = Masked()
    data = digits()

    def empty(step: int) -> None:
        model.mask = torch.zeros(64) if step == bench.fault(100, without=-1) else torch.ones(64)

    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 140),
        before_step=empty,
    )
    bench.result["finite"] = float(math.isfinite(bench.result["loss"]))
