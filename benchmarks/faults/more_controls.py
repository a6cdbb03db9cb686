"""Further healthy controls: other tasks, losses, optimizers and shapes than those of the table."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import (
    Bench,
    ConvNet,
    LanguageModel,
    Recurrent,
    Residual,
    accuracy,
    digits,
    evaluation,
    he,
    markov,
    mlp,
    train,
)
from recipe import healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    NAdam,
    RMSprop,
)

MLP_3 = (64, 64, 64, 10)


def _classify(
    bench: Bench,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int = 300,
    size: int = 64,
) -> None:
    data = digits(images=isinstance(model, ConvNet | Vision | ConvResidual))
    train(
        bench,
        model,
        optimizer,
        data.batches(bench.generator(), size, steps),
        evaluate=evaluation(model, data),
    )
    bench.result["accuracy"] = accuracy(model, data)


class Vision(nn.Module):
    """A transformer over the rows of an image; post-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(8, 32)
        self.pos = nn.Parameter(0.02 * torch.randn(8, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.encoder(self.patch(x[:, 0]) + self.pos).mean(1))


class Block(nn.Module):
    """A residual block of two convolutions; the last norm starts at zero."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        nn.init.zeros_(self.norm2.weight)
        self.short = nn.Conv2d(n_in, n_out, 1, stride) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Block output."""
        out = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(out)) + self.short(x))


class ConvResidual(nn.Module):
    """A small ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.blocks(functional.relu(self.norm(self.stem(x))))
        return self.head(x.mean((2, 3)))


@healthy("X01")
def logistic(bench: Bench) -> None:
    model = nn.Linear(64, 10)
    _classify(bench, model, SGD(model.parameters(), 0.1))


@healthy("X02")
def small_resnet(bench: Bench) -> None:
    model = ConvResidual()
    _classify(bench, model, SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4), 150)


@healthy("X03")
def vision_transformer(bench: Bench) -> None:
    model = Vision()
    _classify(bench, model, AdamW(model.parameters(), 1e-3), 250)


def _optimizers(name: str) -> None:
    made = {
        "adagrad": lambda p: Adagrad(p, 0.02),
        "adadelta": lambda p: Adadelta(p, 1.0),
        "nadam": lambda p: NAdam(p, 2e-3),
        "nesterov": lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True),
        "sgd1": lambda p: SGD(p, 0.5),
        "adam3e-2": lambda p: Adam(p, 1e-2),
        "rmsprop": lambda p: RMSprop(p, 1e-3, momentum=0.9),
        "decay": lambda p: AdamW(p, 3e-3, weight_decay=0.1),
        "slow": lambda p: SGD(p, 0.005),
    }

    @healthy(f"X04-{name}")
    def run(bench: Bench) -> None:
        model = mlp(MLP_3, start=he)
        _classify(bench, model, made[name](model.parameters()))


for _name in (
    "adagrad", "adadelta", "nadam", "nesterov", "sgd1", "adam3e-2", "rmsprop", "decay", "slow",
):  # fmt: skip
    _optimizers(_name)


def _regress(  # noqa: PLR0913 - the parts of a regression
    bench: Bench,
    *,
    noise: float = 0.1,
    mean: float = 0.0,
    spread: float = 1.0,
    rate: float = 1e-3,
    steps: int = 400,
    size: int = 64,
    loss: object = functional.mse_loss,
) -> None:
    generator = bench.generator()
    x = torch.randn(2000, 10, generator=generator)
    w = torch.randn(10, 8, generator=generator) / 3
    y = torch.tanh(x @ w).sum(-1, keepdim=True)
    y = mean + spread * (y / y.std() + noise * torch.randn(y.shape, generator=generator))
    model = mlp((10, 64, 64, 1))

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(steps):
            picked = torch.randint(2000, (size,), generator=generator)
            yield x[picked], y[picked]

    train(
        bench,
        model,
        Adam(model.parameters(), rate),
        batches(),
        loss_of=loss,  # type: ignore[arg-type]
    )


@healthy("X05")
def regression(bench: Bench) -> None:
    _regress(bench)


@healthy("X06")
def noisy_regression(bench: Bench) -> None:
    _regress(bench, noise=2.0, steps=800)


@healthy("X07")
def uncentred_regression(bench: Bench) -> None:
    _regress(bench, mean=10.0, rate=3e-3)


@healthy("X08")
def house_prices(bench: Bench) -> None:
    _regress(bench, mean=200.0, spread=80.0, rate=1e-2, steps=600)


@healthy("X09")
def absolute_error(bench: Bench) -> None:
    _regress(bench, loss=functional.l1_loss)


@healthy("X10")
def smooth_error(bench: Bench) -> None:
    _regress(bench, loss=functional.smooth_l1_loss)


@healthy("X11")
def summed_error(bench: Bench) -> None:
    _regress(bench, loss=lambda out, y: ((out - y) ** 2).sum())


@healthy("X12")
def own_error(bench: Bench) -> None:
    _regress(bench, loss=lambda out, y: 0.5 * ((out - y) ** 2).mean())


@healthy("X13")
def one_sample(bench: Bench) -> None:
    _regress(bench, size=1, steps=1500)


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
            bench.result["reward"] = float(reward.mean())


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
    _classify(bench, model, Adam(model[4].parameters(), 3e-3))


@healthy("X28")
def frozen_body(bench: Bench) -> None:
    model = mlp(MLP_3, start=he)
    model[0].requires_grad_(requires_grad=False)
    model[2].requires_grad_(requires_grad=False)
    _classify(bench, model, Adam(model.parameters(), 3e-3))


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
    _classify(bench, model, AdamW(groups))


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
    _classify(bench, model, Adam(model.parameters(), 3e-4), 300)


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
