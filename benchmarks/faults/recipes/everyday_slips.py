"""Everyday practice and its slips: thawed layers, endless warm-ups, raw targets, blind adapters."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import Bench, Data, digits, mlp, train
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR

THAW = 150  # step


def _thawed(bench: Bench, *, given: bool) -> None:
    """A head on a frozen body, which is set free later; `given` tells the optimizer of it."""
    data, body = digits(), mlp((64, 96, 96))
    model = nn.Sequential(body, nn.ReLU(), nn.Linear(96, 10))
    body.requires_grad_(requires_grad=False)
    optimizer = Adam(model[2].parameters(), 2e-3)

    def thaw(step: int) -> None:
        if step == THAW:
            body.requires_grad_(requires_grad=True)
            if given:
                optimizer.add_param_group({"params": list(body.parameters()), "lr": 1e-3})

    batches = data.batches(bench.generator(), 64, 450)
    train(bench, model, optimizer, batches, before_step=thaw)
    bench.score(model, data)


@healthy("K10")
def thawed(bench: Bench) -> None:
    _thawed(bench, given=True)


@fault("K11", "unchanged_parameters", by=THAW + 100, layers=("0",))
def thawed_and_forgotten(bench: Bench) -> None:
    _thawed(bench, given=not bench.is_faulty)


def _warmed_up(bench: Bench, steps: int) -> None:
    data, model = digits(), mlp((64, 128, 128, 10))
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    scheduler = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / steps))
    batches = data.batches(bench.generator(), 64, 450)
    train(bench, model, optimizer, batches, scheduler=scheduler)
    bench.score(model, data)


@healthy("K12")
def long_warm_up(bench: Bench) -> None:
    _warmed_up(bench, 400)


@fault("K13", "schedule", by=300)
def warm_up_in_epochs(bench: Bench) -> None:
    """Of 2,000 epochs instead of 2,000 steps."""
    _warmed_up(bench, bench.fault(2000 * 22, without=400))


def _prices(bench: Bench, shift: float, scale: float) -> None:
    generator = bench.generator()
    x = torch.randn(2400, 6, generator=generator)
    y = shift + scale * (x[:, :1] - torch.sin(2 * x[:, 1:2]) + x[:, 2:3] * x[:, 3:4])
    data = Data(x=x[:2000], y=y[:2000], val_x=x[2000:], val_y=y[2000:])
    model = mlp((6, 64, 64, 1))
    batches = data.batches(generator, 64, 500)
    train(bench, model, Adam(model.parameters(), 2e-3), batches, loss_of=functional.mse_loss)
    with torch.no_grad():
        error = functional.mse_loss(model(data.val_x), data.val_y) / data.val_y.var()
    bench.result["explained"] = 1 - float(error)


@healthy("K14")
def prices_in_thousands(bench: Bench) -> None:
    _prices(bench, 3.0, 0.7)


@fault("K15", "input_scale", by=100)
def prices_as_they_are(bench: Bench) -> None:
    shift, scale = bench.fault((300_000.0, 70_000.0), without=(3.0, 0.7))
    _prices(bench, shift, scale)


class _Adapted(nn.Module):
    """A frozen layer and a product of two factors beside it."""

    def __init__(self, base: nn.Linear, start: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(requires_grad=False)
        self.lora_A = nn.Parameter(start * torch.randn(4, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Both paths."""
        return self.base(x) + x @ self.lora_A.T @ self.lora_B.T


def _adapted(bench: Bench, start: float) -> None:
    """Adapters learn features that come in another order than those of the first training."""
    data, model = digits(), mlp((64, 96, 96, 10))
    first = Adam(model.parameters(), 2e-3)
    for x, y in data.batches(bench.generator(), 64, 250):
        loss = functional.cross_entropy(model(x), y)
        first.zero_grad()
        loss.backward()
        first.step()
    order = torch.cat([torch.arange(40).roll(7), torch.arange(40, 64)])
    moved = Data(x=data.x[:, order], y=data.y, val_x=data.val_x[:, order], val_y=data.val_y)
    adapted = nn.Sequential(*(_Adapted(m, start) if isinstance(m, nn.Linear) else m for m in model))
    factors = [p for p in adapted.parameters() if p.requires_grad]
    batches = moved.batches(bench.generator(), 32, 400)
    train(bench, adapted, AdamW(factors, 5e-3), batches)
    bench.score(adapted, moved)


@healthy("K16")
def adapters(bench: Bench) -> None:
    _adapted(bench, 0.05)


@fault("K17", "unchanged_parameters", by=100)
def adapters_of_two_zeros(bench: Bench) -> None:
    _adapted(bench, bench.fault(0.0, without=0.05))


@fault("K18", "softmax_into_cross_entropy", by=60)
def sigmoid_in_the_loop(bench: Bench) -> None:
    """Probabilities of several labels, made outside of the model, go to a loss of logits."""
    generator = bench.generator()
    x = torch.randn(3000, 24, generator=generator)
    y = (x @ torch.randn(24, 8, generator=generator) > 2.0).float()
    data = Data(x=x[:2500], y=y[:2500], val_x=x[2500:], val_y=y[2500:])
    model = mlp((24, 96, 8))

    is_right = not bench.is_faulty

    def loss_of(out: Tensor, target: Tensor) -> Tensor:
        out = out if is_right else torch.sigmoid(out)
        return functional.binary_cross_entropy_with_logits(out, target)

    batches = data.batches(generator, 64, 500)
    train(bench, model, Adam(model.parameters(), 2e-3), batches, loss_of=loss_of)
    with torch.no_grad():
        right = (model(data.val_x) > 0) == data.val_y.bool()
    bench.result["accuracy"] = float(right.float().mean())


def _recalled(bench: Bench, gain: float) -> None:
    """Digits row by row, with recurrent weights of this gain."""
    data, gru = digits(), nn.GRU(8, 48, batch_first=True)
    nn.init.normal_(gru.weight_hh_l0, 0.0, gain / 48**0.5)

    class _Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = gru, nn.Linear(48, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.gru(x.view(-1, 8, 8))[0][:, -1])

    model = _Rows()
    batches = data.batches(bench.generator(), 64, 450)
    train(bench, model, Adam(model.parameters(), 2e-3), batches)
    bench.score(model, data)


@fault("K19", "poor_initialization", "exploding_gradient", by=100, layers=("gru",))
def large_recurrent_weights(bench: Bench) -> None:
    _recalled(bench, bench.fault(20.0, without=1.0))
