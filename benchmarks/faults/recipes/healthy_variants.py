"""Further healthy controls: odd but healthy ways to set up a training."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import (
    Bench,
    Recurrent,
    Residual,
    digits,
    he,
    mlp,
    train,
)
from recipe import healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import (
    SGD,
    Adam,
    AdamW,
)

from recipes.healthy_networks import MLP_3, classify


@healthy("X27")
def linear_probe(bench: Bench) -> None:
    """Only the head is given to the optimizer, the body keeps requires_grad."""
    model = mlp(MLP_3)
    data = digits()
    optimizer = Adam(model.parameters(), 1e-3)
    for x, y in data.batches(bench.generator(), 64, 60):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    model[4] = nn.Linear(64, 10)
    classify(bench, model, Adam(model[4].parameters(), 3e-3))


@healthy("X28")
def frozen_body(bench: Bench) -> None:
    model = mlp(MLP_3, start=he)
    model[0].requires_grad_(requires_grad=False)
    model[2].requires_grad_(requires_grad=False)
    classify(bench, model, Adam(model.parameters(), 3e-3))


@healthy("X29")
def focal(bench: Bench) -> None:
    model = mlp(MLP_3)
    data = digits()

    def loss_of(out: Tensor, y: Tensor) -> Tensor:
        entropy = functional.cross_entropy(out, y, reduction="none")
        return ((1 - (-entropy).exp()) ** 2 * entropy).mean()

    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 300),
        loss_of=loss_of,
    )


@healthy("X30")
def layerwise_rates(bench: Bench) -> None:
    model = Residual(4)
    groups = [{"params": model.stem.parameters(), "lr": 1e-5}]
    groups += [
        {"params": block.parameters(), "lr": 1e-5 * 3 ** (index + 1)}
        for index, block in enumerate(model.blocks)
    ]
    groups.append({"params": model.head.parameters(), "lr": 3e-3})
    classify(bench, model, AdamW(groups))


@healthy("X31")
def grokking(bench: Bench) -> None:
    """Addition modulo 23 from half of the table; full batch."""
    generator = bench.generator()
    pairs = torch.cartesian_prod(torch.arange(23), torch.arange(23))
    order = torch.randperm(len(pairs), generator=generator)
    x, y = pairs[order], pairs[order].sum(-1) % 23
    half = len(x) // 2

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(23, 32)
            self.body = mlp((64, 128, 23))

        def forward(self, pair: Tensor) -> Tensor:
            return self.body(self.embed(pair).flatten(1))

    model = Model()

    def evaluate() -> dict[str, float]:
        with torch.no_grad():
            out = model(x[half:])
            right = (out.argmax(-1) == y[half:]).float().mean()
            return {
                "val_loss": float(functional.cross_entropy(out, y[half:])),
                "val_accuracy": float(right),
            }

    train(
        bench,
        model,
        AdamW(model.parameters(), 1e-3, weight_decay=1.0),
        ((x[:half], y[:half]) for _ in range(400)),
        evaluate=evaluate,
    )


@healthy("X32")
def mixture(bench: Bench) -> None:
    """Top-1 routing over four experts."""
    data = digits()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(64, 4)
            self.experts = nn.ModuleList(mlp((64, 64, 10)) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            gates = self.router(x).softmax(-1)
            weight, chosen = gates.max(-1)
            out = x.new_zeros(len(x), 10)
            for index, expert in enumerate(self.experts):
                mask = chosen == index
                if mask.any():
                    out[mask] = expert(x[mask]) * weight[mask, None]
            return out

    model = Model()
    train(bench, model, Adam(model.parameters(), 2e-3), data.batches(bench.generator(), 64, 400))


class Dictionary(nn.Module):
    """A sparse autoencoder; the 16 largest codes, or all with an L1 penalty."""

    def __init__(self, *, top: int | None) -> None:
        super().__init__()
        self.encoder = nn.Linear(64, 512)
        self.decoder = nn.Linear(512, 64)
        self.top = top
        self.penalty = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction."""
        code = torch.relu(self.encoder(x))
        if self.top is not None:
            kept = code.topk(self.top, -1)
            code = torch.zeros_like(code).scatter(-1, kept.indices, kept.values)
        self.penalty = code.abs().sum(-1).mean()
        return self.decoder(code)


def _dictionary(name: str, top: int | None) -> None:
    @healthy(name)
    def run(bench: Bench) -> None:
        data = digits()
        model = Dictionary(top=top)
        generator = bench.generator()

        def batches():  # noqa: ANN202 - a generator of batches
            for x, _ in data.batches(generator, 64, 400):
                yield x, x

        train(
            bench,
            model,
            Adam(model.parameters(), 1e-3),
            batches(),
            loss_of=lambda out, x: (
                functional.mse_loss(out, x) + (0.0 if top else 0.03) * model.penalty
            ),
        )


_dictionary("H17a", 16)
_dictionary("H17b", None)


@healthy("X33")
def gaussian_likelihood(bench: Bench) -> None:
    generator = bench.generator()
    x = torch.randn(2000, 6, generator=generator)
    y = torch.sin(x[:, 0]) + 0.05 * torch.randn(2000, generator=generator)
    model = mlp((6, 64, 64, 2))

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(400):
            picked = torch.randint(2000, (64,), generator=generator)
            yield x[picked], y[picked]

    def loss_of(out: Tensor, truth: Tensor) -> Tensor:
        return functional.gaussian_nll_loss(out[:, 0], truth, functional.softplus(out[:, 1]))

    train(bench, model, Adam(model.parameters(), 3e-3), batches(), loss_of=loss_of)


@healthy("X34")
def longer_sequences(bench: Bench) -> None:
    """A curriculum: the loss rises with each new length."""
    generator = bench.generator()
    model = Recurrent("GRU", 8, 48)

    def batches():  # noqa: ANN202 - a generator of batches
        for step in range(400):
            length = 3 + step // 80
            tokens = torch.randint(8, (64, length), generator=generator)
            yield functional.one_hot(tokens, 8).float(), tokens[:, 0]

    train(bench, model, Adam(model.parameters(), 5e-3), batches())


@healthy("X35")
def growing_penalty(bench: Bench) -> None:
    """KL warm-up of a VAE."""
    data = digits()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = mlp((64, 64, 16))
            self.decoder = mlp((8, 64, 64))
            self.weight = 0.0

        def forward(self, x: Tensor) -> Tensor:
            mean, log_var = self.encoder(x).chunk(2, -1)
            z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
            kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1).mean()
            return (self.decoder(z) - x).square().sum(-1).mean() + self.weight * kl

    model = Model()

    def warm(step: int) -> None:
        model.weight = min(1.0, step / 200)

    train(
        bench,
        model,
        Adam(model.parameters(), 2e-3),
        data.batches(bench.generator(), 64, 400),
        loss_of=lambda out, _: out,
        before_step=warm,
    )


@healthy("X36")
def two_optimizers(bench: Bench) -> None:
    """Matrices by SGD with momentum, the rest by Adam; one loss."""
    model = Residual(4)
    data = digits()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() < 2]
    pair = [SGD(matrices, 0.05, momentum=0.9), Adam(rest, 1e-3)]
    with bench.record(model, pair) as telemetry:
        for x, y in data.batches(bench.generator(), 64, 300):
            loss = functional.cross_entropy(model(x), y)
            for optimizer in pair:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in pair:
                optimizer.step()
            telemetry.step(loss=loss)


@healthy("X37")
def deep_he(bench: Bench) -> None:
    model = mlp((64, *[128] * 19, 10), start=he)
    classify(bench, model, Adam(model.parameters(), 3e-4), 300)


@healthy("X38")
def value_clipping(bench: Bench) -> None:
    model = mlp(MLP_3)
    data = digits()
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    with bench.record(model, optimizer) as telemetry:
        for x, y in data.batches(bench.generator(), 64, 300):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), 0.01)
            optimizer.step()
            telemetry.step(loss=loss)


@healthy("X39")
def bottleneck(bench: Bench) -> None:
    model = mlp((64, 256, 64, 16, 4, 16, 64, 256, 64))
    data = digits()

    def batches():  # noqa: ANN202 - a generator of batches
        for x, _ in data.batches(bench.generator(), 64, 400):
            yield x, x

    train(bench, model, Adam(model.parameters(), 1e-3), batches(), loss_of=functional.mse_loss)


@healthy("X40")
def policy_and_value(bench: Bench) -> None:
    """An actor and a critic in one module, one loss; untagged."""
    generator = bench.generator()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp((8, 32, 32))
            self.actor = nn.Linear(32, 4)
            self.critic = nn.Linear(32, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            hidden = torch.tanh(self.body(x))
            return self.actor(hidden), self.critic(hidden)[:, 0]

    model = Model()
    optimizer = Adam(model.parameters(), 3e-3)
    with bench.record(model, optimizer) as telemetry:
        for _ in range(300):
            context = torch.eye(8)[torch.randint(8, (64,), generator=generator)]
            logits, value = model(context)
            spread = logits.log_softmax(-1)
            action = torch.multinomial(spread.exp().detach(), 1, generator=generator)[:, 0]
            reward = (action == context.argmax(-1) % 4).float()
            gain = reward - value
            loss = -(spread[torch.arange(64), action] * gain.detach()).mean() + gain.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, reward=reward.mean())
            bench.result |= {"reward": float(reward.mean()), "constant": 1 / 4}


@healthy("X41")
def rare_clicks(bench: Bench) -> None:
    """One class in fifty; embeddings of ids; one logit."""
    generator = bench.generator()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.user = nn.Embedding(300, 8)
            self.item = nn.Embedding(100, 8)
            self.body = mlp((16, 32, 1))

        def forward(self, ids: Tensor) -> Tensor:
            return self.body(torch.cat([self.user(ids[:, 0]), self.item(ids[:, 1])], 1))[:, 0]

    taste = torch.randn(300, generator=generator), torch.randn(100, generator=generator)
    model = Model()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(500):
            ids = torch.stack(
                [torch.randint(n, (256,), generator=generator) for n in (300, 100)], 1
            )
            logit = 1.2 * (taste[0][ids[:, 0]] + taste[1][ids[:, 1]]) - 5
            yield ids, torch.bernoulli(logit.sigmoid(), generator=generator)

    train(
        bench,
        model,
        Adam(model.parameters(), 3e-3),
        batches(),
        loss_of=functional.binary_cross_entropy_with_logits,
    )


@healthy("X42")
def lstm_classifier(bench: Bench) -> None:
    generator = bench.generator()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(30, 16)
            self.lstm = nn.LSTM(16, 32, batch_first=True, bidirectional=True)
            self.head = nn.Linear(64, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.lstm(self.embed(tokens))[0].mean(1))

    model = Model()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(150):
            tokens = torch.randint(30, (32, 20), generator=generator)
            yield tokens, ((tokens < 5).sum(-1) > 3).long()

    train(bench, model, Adam(model.parameters(), 5e-3), batches())
