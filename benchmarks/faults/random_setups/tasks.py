"""Tasks to draw: examples with a network for them, and when it has learnt."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from material import ConvNet, Data, LanguageModel, Recurrent, Residual, blobs, digits, markov
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU)
N_TOKENS = 12  # of a sequence


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples, and how far a model is from what it could know of them.

    Attributes:
        data: Inputs and targets.
        loss_of: Of a batch, its reduction as named.
        score: In [0, 1], of outputs for validation targets; higher is better.
        learnt: A score that only a model which has learnt reaches.
        classes: Outputs are logits of classes over the last dimension.
        terms: Of the loss, for each sample: its sum is larger by so much.
    """

    data: Data
    loss_of: Callable[[Tensor, Tensor, str], Tensor]
    score: Callable[[Tensor, Tensor], float]
    learnt: float
    classes: bool = False
    terms: int = 1


def _classes(data: Data) -> Task:
    n_classes = int(data.y.max()) + 1

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.cross_entropy(out, target, reduction=reduction)

    def score(out: Tensor, target: Tensor) -> float:
        return float((out.argmax(-1) == target).float().mean())

    return Task(data=data, loss_of=loss_of, score=score, learnt=0.5 + 0.5 / n_classes, classes=True)


def _values(data: Data) -> Task:
    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.mse_loss(out, target, reduction=reduction)

    def score(out: Tensor, target: Tensor) -> float:
        return 1 - float(functional.mse_loss(out, target) / target.var())

    return Task(data=data, loss_of=loss_of, score=score, learnt=0.5)


def _start(model: nn.Module, name: str) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            if name == "he":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif name == "xavier":
                nn.init.xavier_uniform_(module.weight)
            elif name == "orthogonal":
                nn.init.orthogonal_(module.weight)


def network(choose: random.Random, n_in: int, n_out: int) -> tuple[nn.Module, str]:
    """A multilayer perceptron of any depth, width, activation, normalisation and start."""
    depth, width = choose.randint(1, 4), choose.choice((16, 32, 64, 128))
    activation = choose.choice(ACTIVATIONS)
    norm = choose.choice((None, None, nn.BatchNorm1d, nn.LayerNorm))
    dropout = choose.choice((0.0, 0.0, 0.1, 0.3))
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(nn.Linear(n_in, width))
        layers += [norm(width)] if norm else []
        layers.append(activation())
        layers += [nn.Dropout(dropout)] if dropout else []
        n_in = width
    model = nn.Sequential(*layers, nn.Linear(n_in, n_out))
    start = choose.choice(("default", "default", "he", "xavier", "orthogonal"))
    _start(model, start)
    kind = f"{activation.__name__}{f' {norm.__name__}' if norm else ''}"
    return model, f"mlp {depth}x{width} {kind} dropout {dropout} {start}"


def _flat(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    del seed
    if choose.random() < 0.3:
        depth = choose.randint(1, 5)
        return _classes(digits()), Residual(depth), f"digits residual {depth}"
    model, what = network(choose, 64, 10)
    return _classes(digits()), model, f"digits {what}"


def _images(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    del seed
    norm = choose.random() < 0.5
    return _classes(digits(images=True)), ConvNet(norm=norm), f"digits convnet norm {norm}"


def _table(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    classes = choose.choice((2, 3, 5))
    data = blobs(seed, n=choose.choice((400, 1500)), n_val=400, classes=classes)
    model, what = network(choose, 20, classes)
    return _classes(data), model, f"table of {classes} {what}"


def _text(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    vocabulary = choose.choice((12, 40))
    tokens = markov(seed, vocabulary, 8000)
    windows = tokens.unfold(0, N_TOKENS + 1, 5)
    cut = len(windows) * 4 // 5
    data = Data(
        x=windows[:cut, :-1], y=windows[:cut, 1:], val_x=windows[cut:, :-1], val_y=windows[cut:, 1:]
    )
    known = -(math.log(vocabulary))

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.cross_entropy(out.flatten(0, 1), target.flatten(), reduction=reduction)

    def score(out: Tensor, target: Tensor) -> float:
        return 1 + float(loss_of(out, target, "mean")) / known

    tied = choose.random() < 0.5
    model = LanguageModel(vocabulary, layers=choose.randint(1, 2), tied=tied)
    task = Task(data=data, loss_of=loss_of, score=score, learnt=0.15, classes=True, terms=N_TOKENS)
    return task, model, f"text of {vocabulary} transformer tied {tied}"


def _recall(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    generator = torch.Generator().manual_seed(seed)
    length = choose.choice((4, 8))
    tokens = torch.randint(6, (3000, length), generator=generator)
    x, y = functional.one_hot(tokens, 6).float(), tokens[:, -2]
    data = Data(x=x[:2400], y=y[:2400], val_x=x[2400:], val_y=y[2400:])
    kind = choose.choice(("GRU", "LSTM", "RNN"))
    return _classes(data), Recurrent(kind, 6), f"recall of {length} {kind}"


def _curve(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2000, 6, generator=generator)
    noise = 0.1 * torch.randn(2000, 1, generator=generator)
    y = torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3] / 2 + noise
    data = Data(x=x[:1600], y=y[:1600], val_x=x[1600:], val_y=y[1600:])
    model, what = network(choose, 6, 1)
    return _values(data), model, f"curve {what}"


def _code(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    del seed
    data = digits()
    again = Data(x=data.x, y=data.x, val_x=data.val_x, val_y=data.val_x)
    model, what = network(choose, 64, 64)
    return replace(_values(again), terms=64), model, f"autoencoder {what}"


TASKS: dict[str, Callable[[random.Random, int], tuple[Task, nn.Module, str]]] = {
    "flat": _flat,
    "images": _images,
    "table": _table,
    "text": _text,
    "recall": _recall,
    "curve": _curve,
    "code": _code,
}
