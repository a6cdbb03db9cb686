"""Faults of single layers, groups and branches, in networks whose layers are called in a loop."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

from collections.abc import Callable

import torch
from material import Bench, digits, mlp, train
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW


class _Loop(nn.Module):
    """A list of layers and a head; the activation is a function."""

    def __init__(self, depth: int, activation: Callable[[Tensor], Tensor], gain: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 64) for _ in range(depth)])
        self.head, self.activation = nn.Linear(64, 10), activation
        for layer in self.layers:
            nn.init.normal_(layer.weight, 0.0, gain / 8)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.head(x)


def _trained(bench: Bench, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    data = digits()
    train(bench, model, optimizer, data.batches(bench.generator(), 64, 400))
    bench.score(model, data)


def _deep(bench: Bench, bias: float) -> None:
    model = _Loop(10, functional.relu, 2**0.5)
    nn.init.constant_(model.layers[6].bias, bias)  # type: ignore[arg-type]
    _trained(bench, model, Adam(model.parameters(), 1e-3))


@healthy("K20")
def layers_in_a_loop(bench: Bench) -> None:
    _deep(bench, 0.0)


@fault("K21", "dead_units", "poor_initialization", by=60, layers=("layers.6",))
def one_layer_of_a_loop_never_fires(bench: Bench) -> None:
    _deep(bench, bench.fault(-100.0, without=0.0))


@fault("K22", "unchanged_parameters", by=60, layers=("0", "2", "4"))
def hooks_that_set_gradients_to_zero(bench: Bench) -> None:
    model = mlp((64, 64, 64, 64, 10))
    for parameter in list(model.parameters())[: bench.fault(6, without=0)]:
        parameter.register_hook(torch.zeros_like)
    _trained(bench, model, SGD(model.parameters(), 0.05, momentum=0.9))


class _Towers(nn.Module):
    """Images and the names of their classes in one space; a head that nothing uses."""

    def __init__(self, *, detached: bool) -> None:
        super().__init__()
        self.image, self.text = mlp((64, 64, 24)), nn.Sequential(nn.Embedding(10, 32))
        self.text.append(mlp((32, 32, 24)))
        self.unused, self.detached = nn.Linear(24, 7), detached
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        names = self.text(torch.arange(10))
        names = names.detach() if self.detached else names
        like = functional.normalize(self.image(x)) @ functional.normalize(names).T
        return self.scale.exp() * like


def _two_towers(bench: Bench, *, detached: bool) -> None:
    """The tower of the images is frozen by a rate of zero."""
    model = _Towers(detached=detached)
    own = [*model.text.parameters(), *model.unused.parameters(), model.scale]
    groups = [
        {"params": model.image.parameters(), "lr": 0.0},
        {"params": own, "lr": 3e-3},
    ]
    _trained(bench, model, AdamW(groups))


@healthy("K23")
def a_tower_frozen_by_its_rate(bench: Bench) -> None:
    _two_towers(bench, detached=False)


@fault("K24", "unchanged_parameters", by=60, layers=("text",))
def the_other_tower_is_detached(bench: Bench) -> None:
    _two_towers(bench, detached=bench.is_faulty)


@fault("K25", "poor_initialization", "saturated_units", by=60, layers=("layers.4",))
def one_layer_starts_sixty_times_as_large(bench: Bench) -> None:
    model = _Loop(8, torch.tanh, 1.0)
    with torch.no_grad():
        model.layers[4].weight.mul_(bench.fault(60.0, without=1.0))  # type: ignore[operator]
    _trained(bench, model, SGD(model.parameters(), 0.05, momentum=0.9))


def _groups(bench: Bench, factor: float) -> None:
    model = mlp((64, 64, 64, 64, 64, 10))
    own, rest = list(model[2:6].parameters()), [*model[:2].parameters(), *model[6:].parameters()]
    _trained(bench, model, Adam([{"params": rest}, {"params": own, "lr": 1e-3 * factor}], 1e-3))


@healthy("K26")
def a_group_of_five_times_the_rate(bench: Bench) -> None:
    _groups(bench, 5.0)


@fault("K27", "learning_rate_too_high", by=60)
def a_group_of_three_thousand_times_the_rate(bench: Bench) -> None:
    _groups(bench, bench.fault(3000.0, without=1.0))


def _variational(bench: Bench, weight: float) -> None:
    encoder, decoder = mlp((64, 64, 16)), mlp((8, 64, 64))
    model = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    optimizer = Adam(model.parameters(), 2e-3)
    with bench.record(model, optimizer) as telemetry:
        for x, _ in digits().batches(bench.generator(), 64, 400):
            mean, log_variance = encoder(x).chunk(2, 1)
            z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
            error = (decoder(z) - x).square().sum(1).mean()
            apart = (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean() / 2
            loss = error + weight * apart
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, error=error)
            bench.result["error"] = float(error.detach())


@healthy("K28")
def divergence_of_the_right_sign(bench: Bench) -> None:
    _variational(bench, 0.1)


@fault("K29", "exploding_gradient", "gradient_ascent", by=200)
def divergence_of_the_wrong_sign(bench: Bench) -> None:
    _variational(bench, bench.fault(-0.1, without=0.1))
