"""Architectures of every kind, as a table: what a property of training must hold for.

An architecture is a `Task`: its models, its batches, and the loss of each model's turn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from loops import Classifier, ConvNet, images, mlp, tokens, vectors
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

Models: TypeAlias = Sequence[nn.Module]
Batch: TypeAlias = tuple[Tensor, ...]


def first(batch: Batch) -> Tensor:
    return batch[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something to train.

    Attributes:
        build: Its models; most have one.
        batch: Draws a batch.
        loss: Of the turn of the model with this number.
        inputs: What each model's forward takes of a batch.
    """

    build: Callable[[], Models]
    batch: Callable[[torch.Generator], Batch]
    loss: Callable[[Models, int, Batch], Tensor]
    inputs: Sequence[Callable[[Batch], Tensor]] = (first,)


def supervised(
    build: Callable[[], nn.Module],
    batch: Callable[[torch.Generator], Batch],
    criterion: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
) -> Task:
    def loss(models: Models, turn: int, batch: Batch) -> Tensor:
        output = models[turn](batch[0])
        return criterion(output.float(), batch[-1])

    return Task(build=lambda: (build(),), batch=batch, loss=loss)


class Residual(nn.Module):
    """In-place additions and activations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(4, 4, 3, padding=1, bias=False),
                nn.GroupNorm(2, 4),
                nn.ReLU(inplace=True),
                nn.Conv2d(4, 4, 1),
            )
            for _ in range(2)
        )
        self.head = nn.Linear(4, 4)

    def forward(self, values: Tensor) -> Tensor:
        values = self.stem(values)
        for block in self.blocks:
            hidden = block(values)
            hidden += values
            values = functional.relu_(hidden)
        return self.head(values.mean(dim=(2, 3)))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: object) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.recurrent = kind(6, 6, batch_first=True, **options)
        self.head = nn.Linear(12 if options.get("bidirectional") else 6, 4)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.recurrent(self.embed(words))[0][:, -1])


class Attending(nn.Module):
    """Attention as functions, with dropout inside, and a module that gives its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.project = nn.Linear(8, 24)
        self.pool = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, words: Tensor) -> Tensor:
        hidden = self.embed(words)
        query, key, value = (
            part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.project(hidden).chunk(3, -1)
        )
        dropout = 0.1 if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=True
        )
        hidden = hidden + mixed.transpose(1, 2).flatten(2)
        pooled, weights = self.pool(hidden[:, :1], hidden, hidden)
        return self.head(pooled[:, 0]) * weights.sum()


class Bag(nn.Module):
    """Words by an embedding whose gradient is sparse, weighted by one whose gradient is dense."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6, sparse=True, max_norm=2.0)
        self.importance = nn.Embedding(11, 1, padding_idx=0)
        self.head = nn.Linear(6, 4)

    def forward(self, words: Tensor) -> Tensor:
        return self.head((self.words(words) * self.importance(words).sigmoid()).sum(dim=1))


class Tied(nn.Module):
    """A language model whose input and output embedding are one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.recurrent = nn.GRUCell(8, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, words: Tensor) -> Tensor:
        state = torch.zeros(len(words), 8)
        for position in self.embed(words).unbind(1):
            state = self.recurrent(position, state)
        return self.head(self.norm(state))


class Experts(nn.Module):
    """Each example goes to one expert; some are never used, one is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 6)
        self.experts = nn.ModuleList(nn.Linear(8, 4) for _ in range(6))
        self.experts[1].requires_grad_(requires_grad=False)
        self.register_buffer("uses", torch.zeros(6, dtype=torch.long))

    def forward(self, values: Tensor) -> Tensor:
        share, chosen = self.gate(values).softmax(dim=1)[:, :3].max(dim=1)
        output = values.new_zeros(len(values), 4)
        for number in chosen.unique().tolist():
            rows = chosen == number
            self.uses[number] += 1
            output[rows] = self.experts[number](values[rows]).to(output.dtype)
        return output * share[:, None]


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 6, dtype=torch.complex64) / 4)
        self.head = nn.Linear(6, 4)

    def forward(self, values: Tensor) -> Tensor:
        return self.head((values.to(torch.complex64) @ self.weight).abs())


class Checkpointed(nn.Module):
    """Random numbers are drawn again in the backward pass; a list in a dict as input."""

    def __init__(self, *, use_reentrant: bool) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 8)
        self.inner = nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Dropout(0.3), nn.Linear(8, 4))
        self.use_reentrant = use_reentrant

    def forward(self, values: Tensor) -> Tensor:
        output = checkpoint(self.inner, self.stem(values), use_reentrant=self.use_reentrant)
        assert isinstance(output, Tensor)
        return output


class Autoencoder(nn.Module):
    """Variational: noise is drawn in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 6), nn.ELU(), nn.Linear(6, 4))
        self.decoder = nn.Sequential(nn.Linear(2, 6), nn.Softplus(), nn.Linear(6, 8))

    def forward(self, values: Tensor) -> Tensor:
        mean, spread = self.encoder(values).chunk(2, dim=1)
        return self.decoder(mean + torch.randn_like(mean) * spread.exp())


def parametrized() -> nn.Module:
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(8, 8)),
        nn.LeakyReLU(0.1),
        parametrizations.weight_norm(nn.Linear(8, 8)),
        nn.GELU(),
        parametrizations.orthogonal(nn.Linear(8, 4)),
    )


def in_bfloat16() -> nn.Module:
    class Bfloat16(nn.Sequential):
        def forward(self, values: Tensor) -> Tensor:
            return super().forward(values.bfloat16())

    return Bfloat16(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Hardtanh(), nn.Linear(8, 4)).bfloat16()


def adversaries() -> Models:
    generator = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh())
    critic = nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(0.2), nn.Dropout(0.2), nn.Linear(8, 1))
    return critic, generator


def adversarial_batch(generator: torch.Generator) -> Batch:
    return torch.randn(8, 8, generator=generator), torch.randn(8, 3, generator=generator)


def adversarial_loss(models: Models, turn: int, batch: Batch) -> Tensor:
    critic, generator = models
    real, noise = batch
    if turn == 1:
        return functional.softplus(-critic(generator(noise))).mean()
    with torch.no_grad():
        fake = generator(noise)
    return functional.softplus(critic(fake)).mean() + functional.softplus(-critic(real)).mean()


def functional_loss(models: Models, turn: int, batch: Batch) -> Tensor:
    weights = {name: value * 1.5 for name, value in models[turn].named_parameters()}
    output = torch.func.functional_call(models[turn], weights, (batch[0],))
    return functional.cross_entropy(output, batch[1])


def next_words(generator: torch.Generator) -> Batch:
    words = torch.randint(11, (6, 5), generator=generator)
    return words[:, :-1], words[:, -1]


def same_vectors(generator: torch.Generator) -> Batch:
    values = torch.randn(8, 8, generator=generator)
    return values, values


ARCHITECTURES: dict[str, Task] = {
    "mlp": supervised(mlp, vectors),
    "convnet": supervised(ConvNet, images),
    "residual": supervised(Residual, images),
    "lstm": supervised(lambda: Recurrent(nn.LSTM, bidirectional=True), tokens),
    "gru": supervised(lambda: Recurrent(nn.GRU, num_layers=2, dropout=0.2), tokens),
    "transformer": supervised(Classifier, tokens),
    "attention": supervised(Attending, tokens),
    "embeddings": supervised(Bag, tokens),
    "tied": supervised(Tied, next_words),
    "autoencoder": supervised(Autoencoder, same_vectors, functional.smooth_l1_loss),
    "gan": Task(
        build=adversaries,
        batch=adversarial_batch,
        loss=adversarial_loss,
        inputs=(first, lambda batch: batch[1]),
    ),
    "parametrized": supervised(parametrized, vectors),
    "checkpointed": supervised(lambda: Checkpointed(use_reentrant=False), vectors),
    "reentrant": supervised(lambda: Checkpointed(use_reentrant=True), vectors),
    "experts": supervised(Experts, vectors),
    "complex": supervised(Complex, vectors),
    "functional": Task(build=lambda: (mlp(),), batch=vectors, loss=functional_loss),
    "bfloat16": supervised(in_bfloat16, vectors),
}
