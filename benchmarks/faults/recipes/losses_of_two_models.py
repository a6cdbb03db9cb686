"""Kinds that no other recipe has: losses of two models, growing sums, new tasks; and faults."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

from collections.abc import Iterator

import torch
from material import Bench, digits, mlp, train
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

N_STAGES = 5


@healthy("K01")
def adversaries_with_two_callbacks(bench: Bench) -> None:
    """Points of a ring; the run of the generator, opened last, is judged."""
    generator, critic = mlp((8, 64, 64, 2)), mlp((2, 64, 64, 1))
    of_generator, of_critic = (
        Adam(part.parameters(), 5e-4, betas=(0.5, 0.999)) for part in (generator, critic)
    )
    judged, one = functional.binary_cross_entropy_with_logits, torch.ones(64, 1)
    with bench.record(critic, of_critic) as theirs, bench.record(generator, of_generator) as own:
        for _ in range(600):
            angle = 6.2832 * torch.rand(64)
            real = torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(64, 2)
            fake = generator(torch.randn(64, 8))
            loss = judged(critic(real), one) + judged(critic(fake.detach()), 0 * one)
            of_critic.zero_grad()
            loss.backward()
            of_critic.step()
            theirs.step(loss=loss)
            loss = judged(critic(fake), one)
            of_generator.zero_grad()
            loss.backward()
            of_generator.step()
            own.step(loss=loss)


class _Quantised(nn.Module):
    """An autoencoder of four codes out of 32, with a straight-through gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp((64, 128, 32)), mlp((32, 128, 64))
        self.codes = nn.Embedding(32, 8)
        nn.init.uniform_(self.codes.weight, -1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction, and how far codes and their users are apart."""
        z = self.encoder(x).view(-1, 4, 8)
        nearest = torch.cdist(z.reshape(-1, 8), self.codes.weight).argmin(1).view(-1, 4)
        code = self.codes(nearest)
        apart = functional.mse_loss(code, z.detach()) + functional.mse_loss(z, code.detach()) / 4
        return self.decoder((z + (code - z).detach()).flatten(1)), apart


@healthy("K02")
def codes_that_move_apart(bench: Bench) -> None:
    """The loss rises to ten times its start while its main part, the reconstruction, falls."""
    model = _Quantised()
    optimizer = Adam(model.parameters(), 2e-3)
    with bench.record(model, optimizer) as telemetry:
        for x, _ in digits().batches(bench.generator(), 64, 700):
            y, apart = model(x)
            reconstruction = functional.mse_loss(y, x)
            loss = reconstruction + apart
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, reconstruction=reconstruction)
            bench.result["reconstruction"] = float(reconstruction.detach())


def _tasks(generator: torch.Generator, y: Tensor) -> Iterator[Tensor]:
    """Places of the batches of one pair of classes after the other, with a few of those before."""
    for task in range(N_STAGES):
        new, old = torch.where(y // 2 == task)[0], torch.where(y // 2 < task)[0][::8]
        for _ in range(120):
            parts = [part for part in (new, old) if len(part)]
            yield torch.cat([p[torch.randint(len(p), (32,), generator=generator)] for p in parts])


@healthy("K03")
def one_task_after_another(bench: Bench) -> None:
    data, model = digits(), mlp((64, 128, 128, 10))
    batches = ((data.x[at], data.y[at]) for at in _tasks(bench.generator(), data.y))
    train(bench, model, SGD(model.parameters(), 0.05, momentum=0.9), batches)
    bench.score(model, data)


@healthy("K04")
def longer_and_longer_horizons(bench: Bench) -> None:
    """The sum of squared errors over 1, 2, 4, 8, 16 steps of a map."""
    generator = bench.generator()
    starts = 2 * torch.rand(1000, 3, generator=generator) - 1
    map_ = torch.tensor([[0.99, 0.55, 0.0], [-0.55, 0.99, 0.33], [0.22, -0.33, 1.05]])
    model = mlp((3, 64, 3), nn.SiLU)
    optimizer = Adam(model.parameters(), 2e-3)
    with bench.record(model, optimizer) as telemetry:
        for step in range(600):
            truth = starts[torch.randint(1000, (64,), generator=generator)]
            told, loss = truth, torch.zeros(())
            for _ in range(2 ** (step * N_STAGES // 600)):
                told, truth = model(told), torch.tanh(truth @ map_)
                noise = 0.05 * torch.randn(64, 3, generator=generator)
                loss = loss + functional.mse_loss(told, truth + noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    bench.result["loss"] = float(loss.detach())


@healthy("K05")
def hardly_predictable(bench: Bench) -> None:
    """Inputs explain 2 to 4 % of the variance; the correlation of an evaluation tells it."""
    generator = bench.generator()
    x = torch.randn(40_000, 10, generator=generator)
    y = 0.15 * torch.tanh(x[:, 0]) + 0.15 * x[:, 1] + torch.randn(40_000, generator=generator)
    model = mlp((10, 32, 1))
    places = (torch.randint(32_000, (256,), generator=generator) for _ in range(800))

    def evaluate() -> dict[str, float]:
        with torch.no_grad():
            both = torch.stack([model(x[32_000:])[:, 0], y[32_000:]])
        correlation = float(torch.corrcoef(both)[0, 1])
        bench.result["correlation"] = correlation
        return {"val_correlation": correlation}

    train(
        bench,
        model,
        Adam(model.parameters(), 3e-4),
        ((x[at], y[at, None]) for at in places),
        loss_of=functional.mse_loss,
        evaluate=evaluate,
        every=20,
    )


def _risk(bench: Bench, sign: float) -> None:
    """Cox's partial likelihood of survival times; `sign` times it is minimised."""
    generator = bench.generator()
    x = torch.randn(1500, 12, generator=generator)
    risk = x[:, 0] - 0.8 * x[:, 1] * x[:, 2]
    time = -torch.rand(1500, generator=generator).log() / risk.exp()
    model = mlp((12, 32, 32, 1), nn.SELU)
    optimizer = Adam(model.parameters(), 2e-3)
    with bench.record(model, optimizer) as telemetry:
        for _ in range(500):
            at = torch.randint(1200, (128,), generator=generator)
            ordered = model(x[at[time[at].argsort(descending=True)]])[:, 0]
            loss = (torch.logcumsumexp(ordered, 0) - ordered).mean()
            optimizer.zero_grad()
            (sign * loss).backward()
            optimizer.step()
            telemetry.step(loss=loss)
            bench.result["loss"] = float(loss.detach())


@healthy("K06")
def survival(bench: Bench) -> None:
    _risk(bench, 1.0)


@fault("K07", "gradient_ascent", by=60)
def survival_climbed(bench: Bench) -> None:
    _risk(bench, bench.fault(-1.0, without=1.0))


def _preferences(bench: Bench, decay: float) -> None:
    """Users prefer items (BPR): two tables of embeddings and nothing else."""
    generator = bench.generator()
    users, items = (torch.randn(n, 4, generator=generator) for n in (500, 300))
    liked = (users @ items.T).topk(30, 1)[1]
    tables = nn.ModuleList([nn.Embedding(500, 16), nn.Embedding(300, 16)])
    for table in tables:
        nn.init.normal_(table.weight, 0.0, 0.1)  # type: ignore[arg-type]
    optimizer = Adam(tables.parameters(), 0.01, weight_decay=decay)
    with bench.record(tables, optimizer) as telemetry:
        for _ in range(600):
            user = torch.randint(500, (256,), generator=generator)
            good = liked[user, torch.randint(30, (256,), generator=generator)]
            other = torch.randint(300, (256,), generator=generator)
            apart = tables[0](user) * (tables[1](good) - tables[1](other))
            loss = -functional.logsigmoid(apart.sum(-1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            bench.result["loss"] = float(loss.detach())


@healthy("K08")
def preferences(bench: Bench) -> None:
    _preferences(bench, 1e-5)


@fault("K09", "over_regularized", by=200)
def preferences_decayed(bench: Bench) -> None:
    _preferences(bench, bench.fault(5.0, without=1e-5))
