"""Further healthy controls: generative, sequence, metric and reinforcement learning."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import (
    Bench,
    LanguageModel,
    digits,
    markov,
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


@healthy("X14")
def sine_rnn(bench: Bench) -> None:
    generator = bench.generator()

    class Forecast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(1, 24, batch_first=True)
            self.head = nn.Linear(24, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.gru(x)[0])

    model = Forecast()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(200):
            phase = 6.3 * torch.rand(32, 1, 1, generator=generator)
            wave = torch.sin(phase + 0.3 * torch.arange(31).view(1, -1, 1))
            yield wave[:, :-1], wave[:, 1:]

    train(bench, model, Adam(model.parameters(), 5e-3), batches(), loss_of=functional.mse_loss)


@healthy("X15")
def bernoulli_vae(bench: Bench) -> None:
    data = digits()
    images = torch.sigmoid(2 * data.x)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = mlp((64, 64, 8))
            self.decoder = mlp((4, 64, 64))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mean, log_var = self.encoder(x).chunk(2, -1)
            z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
            kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum()
            return self.decoder(z), kl

    model = Model()

    def loss_of(out: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        recon = functional.binary_cross_entropy_with_logits(out[0], x, reduction="sum")
        return (recon + out[1]) / len(x)

    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(400):
            picked = torch.randint(len(images), (64,), generator=generator)
            yield images[picked], images[picked]

    train(bench, model, Adam(model.parameters(), 1e-3), batches(), loss_of=loss_of)  # type: ignore[arg-type]


@healthy("X16")
def conv_autoencoder(bench: Bench) -> None:
    data = digits(images=True)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(16, 16, 2), nn.ReLU(),
        nn.ConvTranspose2d(16, 16, 2), nn.ReLU(), nn.ConvTranspose2d(16, 8, 2, 2), nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 2, 2), nn.ReLU(), nn.Conv2d(8, 1, 3, 1, 1),
    )  # fmt: skip
    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for x, _ in data.batches(generator, 64, 300):
            yield x, x

    train(bench, model, Adam(model.parameters(), 2e-3), batches(), loss_of=functional.mse_loss)


class Generator(nn.Module):
    """Upsampling generator with BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(16, 32, 2), nn.BatchNorm2d(32), nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 2, 2), nn.BatchNorm2d(16), nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 2, 2), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        """Images."""
        return self.net(z)


def _conv_gan(bench: Bench, kind: str) -> None:
    data = digits(images=True)
    generator = bench.generator()
    g = Generator()
    d = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 3, 2, 1),
        nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 1),
    )  # fmt: skip
    model = nn.ModuleList([g, d])
    of_g = Adam(g.parameters(), 2e-4, betas=(0.5, 0.999))
    of_d = Adam(d.parameters(), 2e-4, betas=(0.5, 0.999))
    with bench.record(model, [of_g, of_d]) as telemetry:
        for x, _ in data.batches(generator, 64, 200):
            real = torch.tanh(x)
            fake = g(torch.randn(64, 16, 1, 1, generator=generator))
            if kind == "hinge":
                loss_d = (
                    functional.relu(1 - d(real)).mean()
                    + functional.relu(1 + d(fake.detach())).mean()
                )
            else:
                loss_d = (
                    functional.softplus(-d(real)).mean()
                    + functional.softplus(d(fake.detach())).mean()
                )
            of_d.zero_grad()
            loss_d.backward()
            of_d.step()
            loss_g = -d(fake).mean() if kind == "hinge" else functional.softplus(-d(fake)).mean()
            of_g.zero_grad()
            loss_g.backward()
            of_g.step()
            telemetry.step(loss=loss_d, loss_g=loss_g)


@healthy("X17")
def conv_gan(bench: Bench) -> None:
    _conv_gan(bench, "softplus")


@healthy("X18")
def hinge_gan(bench: Bench) -> None:
    _conv_gan(bench, "hinge")


@healthy("X19")
def untied_language_model(bench: Bench) -> None:
    tokens = markov(bench.seed, 60, 20_000)
    model = LanguageModel(60)
    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(150):
            starts = torch.randint(len(tokens) - 33, (16,), generator=generator)
            rows = torch.stack([tokens[s : s + 33] for s in starts])
            yield rows[:, :-1], rows[:, 1:]

    train(
        bench,
        model,
        AdamW(model.parameters(), 1e-3),
        batches(),
        loss_of=lambda out, y: functional.cross_entropy(out.flatten(0, 1), y.flatten()),
        clip=1.0,
    )


@healthy("X20")
def triplet(bench: Bench) -> None:
    data = digits()
    model = mlp((64, 64, 16))
    generator = bench.generator()
    optimizer = Adam(model.parameters(), 1e-3)
    order = [torch.nonzero(data.y == k)[:, 0] for k in range(10)]
    with bench.record(model, optimizer) as telemetry:
        for _ in range(300):
            kinds = torch.randint(10, (64,), generator=generator)
            other = (kinds + torch.randint(1, 10, (64,), generator=generator)) % 10

            def pick(classes: Tensor) -> Tensor:
                rows = [
                    order[k][torch.randint(len(order[k]), (1,), generator=generator)]
                    for k in classes.tolist()
                ]
                return data.x[torch.cat(rows)]

            loss = functional.triplet_margin_loss(
                model(pick(kinds)), model(pick(kinds)), model(pick(other))
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)


@healthy("X21")
def siamese(bench: Bench) -> None:
    """SimSiam: stop-gradient, negative cosine."""
    data = digits()
    generator = bench.generator()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32),
                nn.BatchNorm1d(32, affine=False),
            )  # fmt: skip
            self.predictor = nn.Sequential(
                nn.Linear(32, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 32)
            )

        def forward(self, one: Tensor, two: Tensor) -> Tensor:
            a, b = self.encoder(one), self.encoder(two)
            similarity = functional.cosine_similarity
            return -0.5 * (
                similarity(self.predictor(a), b.detach()).mean()
                + similarity(self.predictor(b), a.detach()).mean()
            )

    model = Model()
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    with bench.record(model, optimizer) as telemetry:
        for x, _ in data.batches(generator, 64, 300):
            views = [x + 0.3 * torch.randn(x.shape, generator=generator) for _ in range(2)]
            loss = model(*views)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)


@healthy("X22")
def multi_task(bench: Bench) -> None:
    data = digits()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp((64, 64, 64))
            self.classes = nn.Linear(64, 10)
            self.value = nn.Linear(64, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            hidden = torch.relu(self.body(x))
            return self.classes(hidden), self.value(hidden)

    model = Model()

    def loss_of(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return functional.cross_entropy(out[0], y) + 0.1 * functional.mse_loss(
            out[1][:, 0], y.float()
        )

    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 300),
        loss_of=loss_of,  # type: ignore[arg-type]
    )


@healthy("X23")
def rare_labels(bench: Bench) -> None:
    """A hundred labels, two in a hundred set."""
    generator = bench.generator()
    x = torch.randn(2000, 32, generator=generator)
    w = torch.randn(32, 100, generator=generator)
    y = ((x @ w) / 32**0.5 > 2.05).float()
    model = mlp((32, 128, 100))

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(400):
            picked = torch.randint(2000, (64,), generator=generator)
            yield x[picked], y[picked]

    train(
        bench,
        model,
        Adam(model.parameters(), 2e-3),
        batches(),
        loss_of=functional.binary_cross_entropy_with_logits,
    )


@healthy("X24")
def untagged_reinforce(bench: Bench) -> None:
    generator = bench.generator()
    model = mlp((8, 32, 8))
    optimizer = Adam(model.parameters(), 3e-3)
    with bench.record(model, optimizer) as telemetry:
        for _ in range(300):
            context = torch.eye(8)[torch.randint(8, (64,), generator=generator)]
            logits = model(context).log_softmax(-1)
            action = torch.multinomial(logits.exp().detach(), 1, generator=generator)[:, 0]
            reward = (action == context.argmax(-1)).float()
            chosen = logits[torch.arange(64), action]
            loss = -(chosen * reward).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, reward=reward.mean())
            bench.result |= {"reward": float(reward.mean()), "constant": 1 / 8}


@healthy("X25")
def q_learning(bench: Bench) -> None:
    """A corridor of eight cells: the value error rises from nothing as values spread."""
    generator = bench.generator()
    model, target = mlp((8, 64, 2)), mlp((8, 64, 2))
    target.load_state_dict(model.state_dict())
    optimizer = Adam(model.parameters(), 1e-3)
    with bench.record(model, optimizer, tags=("rl",)) as telemetry:
        for step in range(400):
            cell = torch.randint(8, (64,), generator=generator)
            action = torch.randint(2, (64,), generator=generator)
            after = (cell + 2 * action - 1).clamp(0, 7)
            reward = (after == 7).float()
            with torch.no_grad():
                goal = reward + 0.95 * target(torch.eye(8)[after]).max(-1).values
            value = model(torch.eye(8)[cell])[torch.arange(64), action]
            loss = functional.smooth_l1_loss(value, goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 20 == 0:
                target.load_state_dict(model.state_dict())
            telemetry.step(loss=loss)


@healthy("X26")
def diffusion(bench: Bench) -> None:
    data = digits()
    generator = bench.generator()
    model = mlp((65, 128, 128, 64))

    def batches():  # noqa: ANN202 - a generator of batches
        for x, _ in data.batches(generator, 64, 600):
            time = torch.rand(len(x), 1, generator=generator)
            noise = torch.randn(x.shape, generator=generator)
            mixed = (1 - time).sqrt() * x + time.sqrt() * noise
            yield torch.cat([mixed, time], 1), noise

    train(bench, model, Adam(model.parameters(), 1e-3), batches(), loss_of=functional.mse_loss)
