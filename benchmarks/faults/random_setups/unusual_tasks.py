"""Further kinds of training to draw: other losses, other data, other wirings.

A model gives one tensor, and the loss takes it apart where it holds several things.
"""

import math
import random

import torch
from material import Data, digits, markov
from torch import Tensor, nn
from torch.nn import functional

from random_setups.tasks import Task, network

PADDING = -100
N_NODES, N_FEATURES = 6, 4


def _cut(x: Tensor, y: Tensor) -> Data:
    """Four fifths to train with."""
    cut = len(x) * 4 // 5
    return Data(x=x[:cut], y=y[:cut], val_x=x[cut:], val_y=y[cut:])


def _explained(out: Tensor, target: Tensor) -> float:
    return 1 - float(functional.mse_loss(out, target) / target.var())


def labels_of_each(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    """Several yes-or-no labels a sample, some of them rare."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2000, 16, generator=generator)
    y = (x @ torch.randn(16, 5, generator=generator) > torch.linspace(0, 6, 5)).float()

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.binary_cross_entropy_with_logits(out, target, reduction=reduction)

    def score(out: Tensor, target: Tensor) -> float:
        right = (out > 0) == (target > 0)
        return float(2 * (right[:, 0].float().mean() - 0.5))

    model, what = network(choose, 16, 5)
    task = Task(data=_cut(x, y), loss_of=loss_of, score=score, learnt=0.5, terms=5)
    return task, model, f"labels {what}"


def pixels(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    """Which pixels belong to the digit: most do not."""
    generator = torch.Generator().manual_seed(seed)
    clean = digits(images=True)
    x = torch.cat([clean.x, clean.val_x])
    y = (x > 0.8).float()
    x = x + 0.5 * torch.randn(x.shape, generator=generator)

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.binary_cross_entropy_with_logits(out, target, reduction=reduction)

    def score(out: Tensor, target: Tensor) -> float:
        both = ((out > 0) & (target > 0)).sum()
        return float(both / ((out > 0) | (target > 0)).sum().clamp(min=1))

    width, norm = choose.choice((8, 16)), choose.random() < 0.5
    layers: list[nn.Module] = []
    for n_in, n_out in ((1, width), (width, width)):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1)]
        layers += [nn.BatchNorm2d(n_out)] if norm else []
        layers += [nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(width, 1, 1))
    task = Task(data=_cut(x, y), loss_of=loss_of, score=score, learnt=0.6, terms=64)
    return task, model, f"pixels {width} norm {norm}"


class _Ratings(nn.Module):
    def __init__(self, n_users: int, n_items: int, width: int) -> None:
        super().__init__()
        self.users = nn.Embedding(n_users, width)
        self.items = nn.Embedding(n_items, width)
        self.user_bias = nn.Embedding(n_users, 1)
        self.item_bias = nn.Embedding(n_items, 1)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, 0.0, 0.3)

    def forward(self, pairs: Tensor) -> Tensor:
        user, item = pairs[:, 0], pairs[:, 1]
        product = (self.users(user) * self.items(item)).sum(-1, keepdim=True)
        return product + self.user_bias(user) + self.item_bias(item)


def ratings(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    """Users times items, by two tables of embeddings."""
    generator = torch.Generator().manual_seed(seed)
    n_users, n_items = 60, 40
    pairs = torch.stack(
        [
            torch.randint(n_users, (8000,), generator=generator),
            torch.randint(n_items, (8000,), generator=generator),
        ],
        dim=1,
    )
    tastes = torch.randn(n_users, 3, generator=generator)
    kinds = torch.randn(n_items, 3, generator=generator)
    y = (tastes[pairs[:, 0]] * kinds[pairs[:, 1]]).sum(-1, keepdim=True)

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.mse_loss(out, target, reduction=reduction)

    width = choose.choice((8, 16))
    task = Task(data=_cut(pairs, y), loss_of=loss_of, score=_explained, learnt=0.4)
    return task, _Ratings(n_users, n_items, width), f"ratings {width}"


class _Graphs(nn.Module):
    def __init__(self, width: int, rounds: int) -> None:
        super().__init__()
        self.start = nn.Linear(N_FEATURES, width)
        self.rounds = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(rounds))
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        edges, nodes = x[..., :N_NODES], x[..., N_NODES:]
        state = functional.relu(self.start(nodes))
        for layer in self.rounds:
            heard = edges @ state  # a sum: nodes of many neighbours hear much
            state = functional.relu(layer(torch.cat([state, heard], dim=-1)))
        return self.head(state.mean(1))


def graphs(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    """A number of each small graph, by sums over neighbours."""
    generator = torch.Generator().manual_seed(seed)
    edges = (torch.rand(2000, N_NODES, N_NODES, generator=generator) < 0.4).float()
    nodes = torch.randn(2000, N_NODES, N_FEATURES, generator=generator)
    y = (edges @ nodes)[..., :1].abs().mean(1)
    y = (y - y.mean()) / y.std()

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.smooth_l1_loss(out, target, reduction=reduction)

    width, rounds = choose.choice((16, 32)), choose.randint(1, 3)
    data = _cut(torch.cat([edges, nodes], dim=-1), y)
    task = Task(data=data, loss_of=loss_of, score=_explained, learnt=0.5)
    return task, _Graphs(width, rounds), f"graphs {width} x{rounds}"


class _Variational(nn.Module):
    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, 64))

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x)
        mean, log_var = code.chunk(2, -1)
        noise = torch.randn_like(mean) if self.training else 0.0
        return torch.cat([self.decoder(mean + noise * (0.5 * log_var).exp()), code], dim=-1)


def variational(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    """A variational autoencoder of digits."""
    del seed
    data = digits()
    again = Data(x=data.x, y=data.x, val_x=data.val_x, val_y=data.val_x)
    beta = choose.choice((0.1, 0.5))

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        mean, log_var = out[:, 64:].chunk(2, -1)
        apart = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)
        each = ((out[:, :64] - target) ** 2).sum(-1) + beta * apart
        return each.sum() if reduction == "sum" else each.mean()

    def score(out: Tensor, target: Tensor) -> float:
        return _explained(out[:, :64], target)

    latent = choose.choice((4, 8))
    task = Task(data=again, loss_of=loss_of, score=score, learnt=0.25, terms=64)
    return task, _Variational(64, latent), f"variational {latent} beta {beta}"


class _Tagger(nn.Module):
    def __init__(self, kind: str, vocabulary: int, width: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width, padding_idx=0)
        self.rnn = getattr(nn, kind)(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(tokens))[0])


def padded(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    """A class for each token of sentences of many lengths; the padding has none."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary, length, classes = 30, 12, 4
    tokens = 1 + markov(seed, vocabulary - 1, 24_000).view(-1, length)
    before = torch.cat([tokens[:, :1], tokens[:, :-1]], dim=1)
    y = (tokens * 7 + before) % classes
    lengths = torch.randint(3, length + 1, (len(tokens), 1), generator=generator)
    outside = torch.arange(length)[None] >= lengths
    tokens = tokens.masked_fill(outside, 0)
    y = y.masked_fill(outside, PADDING)

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.cross_entropy(out.flatten(0, 1), target.flatten(), reduction=reduction)

    def score(out: Tensor, target: Tensor) -> float:
        counted = target != PADDING
        return float((out.argmax(-1) == target)[counted].float().mean())

    kind = choose.choice(("GRU", "LSTM"))
    task = Task(
        data=_cut(tokens, y), loss_of=loss_of, score=score, learnt=0.5, classes=True, terms=8
    )
    return task, _Tagger(kind, vocabulary, 32, classes), f"padded {kind}"


class _Denoiser(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.time = nn.Linear(8, width)
        self.inner = nn.Sequential(
            nn.Linear(2 + width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        moment = x[:, 2:] * 2 ** torch.arange(4)
        told = self.time(torch.cat([moment.sin(), moment.cos()], dim=-1))
        return self.head(self.inner(torch.cat([x[:, :2], told], dim=-1)))


def noise(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    """The noise in points of a ring, at a noise level that the model is told."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(8000, 1, generator=generator)
    level = torch.rand(8000, 1, generator=generator)
    added = torch.randn(8000, 2, generator=generator)
    points = torch.cat([angle.cos(), angle.sin()], dim=1)
    x = torch.cat([(1 - level).sqrt() * points + level.sqrt() * added, level], dim=1)

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.mse_loss(out, target, reduction=reduction)

    width = choose.choice((64, 128))
    task = Task(data=_cut(x, added), loss_of=loss_of, score=_explained, learnt=0.35, terms=2)
    return task, _Denoiser(width), f"noise {width}"


class _Forecast(nn.Module):
    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(1, width, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def series(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    """The next value of sums of waves, with Huber's loss."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(25)
    pace = 0.2 + torch.rand(2000, 1, generator=generator)
    shift = 6 * torch.rand(2000, 1, generator=generator)
    waves = (pace * time + shift).sin() + 0.3 * (2 * pace * time).cos()
    waves = waves + 0.05 * torch.randn(waves.shape, generator=generator)

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.huber_loss(out, target, reduction=reduction)

    kind = choose.choice(("GRU", "LSTM", "RNN"))
    task = Task(
        data=_cut(waves[:, :24, None], waves[:, 24:]),
        loss_of=loss_of,
        score=_explained,
        learnt=0.5,
    )
    return task, _Forecast(kind, 32), f"series {kind}"


def counts(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    """Counts with a Poisson loss, which has no bound below."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3000, 8, generator=generator)
    rate = (0.6 * x[:, :1] - 0.4 * x[:, 1:2] * x[:, 2:3] + 1).exp()
    y = torch.poisson(rate.clamp(max=50), generator=generator)

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        return functional.poisson_nll_loss(out.clamp(max=8), target, reduction=reduction)

    def score(out: Tensor, target: Tensor) -> float:
        nothing = loss_of(target.mean().log().expand_as(target), target, "mean")
        best = loss_of(target.clamp(min=0.1).log(), target, "mean")
        return float((nothing - loss_of(out, target, "mean")) / (nothing - best))

    model, what = network(choose, 8, 1)
    return Task(data=_cut(x, y), loss_of=loss_of, score=score, learnt=0.3), model, f"counts {what}"


class _Views(nn.Module):
    def __init__(self, width: int, *, norm: bool) -> None:
        super().__init__()
        inner = [nn.BatchNorm1d(width)] if norm else []
        self.encoder = nn.Sequential(nn.Linear(64, width), *inner, nn.ReLU(), nn.Linear(width, 16))

    def forward(self, views: Tensor) -> Tensor:
        return self.encoder(views.flatten(0, 1)).unflatten(0, views.shape[:2])


def pairs_of_views(choose: random.Random, seed: int) -> tuple[Task, nn.Module, str]:
    """Two disturbed views of a digit belong together (InfoNCE)."""
    generator = torch.Generator().manual_seed(seed)
    data = digits()
    x = torch.cat([data.x, data.val_x])
    views = x[:, None] + 0.3 * torch.randn(len(x), 2, 64, generator=generator)
    heat = choose.choice((0.1, 0.5))

    def logits(out: Tensor) -> Tensor:
        first, second = functional.normalize(out, dim=-1).unbind(1)
        return first @ second.T / heat

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        del target
        return functional.cross_entropy(logits(out), torch.arange(len(out)), reduction=reduction)

    def score(out: Tensor, target: Tensor) -> float:
        del target
        return float((logits(out).argmax(-1) == torch.arange(len(out))).float().mean())

    norm = choose.random() < 0.5
    task = Task(data=_cut(views, torch.zeros(len(x))), loss_of=loss_of, score=score, learnt=0.5)
    return task, _Views(64, norm=norm), f"views heat {heat} norm {norm}"


MORE_TASKS = {
    "labels": labels_of_each,
    "pixels": pixels,
    "ratings": ratings,
    "graphs": graphs,
    "variational": variational,
    "padded": padded,
    "noise": noise,
    "series": series,
    "counts": counts,
    "views": pairs_of_views,
}
