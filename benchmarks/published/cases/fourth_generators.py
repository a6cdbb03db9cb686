"""A fourth set: nets that make things up."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from published.case import Reached, Trial, case
from published.material import batches, digits, unexplained

FLOOR = 0.02  # of a distance between two samples of one distribution


@torch.no_grad()
def _distance(made: Tensor, real: Tensor) -> Reached:
    """Energy distance of two samples."""
    between = torch.cdist(made, real).mean()
    within = torch.cdist(made, made).mean() + torch.cdist(real, real).mean()
    return Reached(error=float(2 * between - within) + FLOOR)


@case(
    "tfgan-7",
    source="https://github.com/rishikksh20/TFGAN/issues/7",
    wrong="the feature matching of the generator takes disc_fake, which was made of detached "
    "samples: it has no gradient",
    mended="disc_fake_g",
    ported="spectra of 24 bands and their sounds of 24 numbers; features weigh ten times as much "
    "as the judge's score, there is no other loss",
)
def matching_of_detached_features(trial: Trial) -> Reached:
    """The larger term is only shown."""
    mixing = 0.4 * torch.randn(24, 24, generator=trial.generator)
    generator = nn.Sequential(nn.Linear(24, 64), nn.LeakyReLU(0.2), nn.Linear(64, 24))
    features = nn.Sequential(nn.Linear(48, 64), nn.LeakyReLU(0.2))
    score = nn.Linear(64, 1)
    discriminator = nn.ModuleDict({"features": features, "score": score})
    both = nn.ModuleDict({"generator": generator, "discriminator": discriminator})
    optim_g = Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    optim_d = Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    telemetry = trial.record(both, [optim_g, optim_d], tags=["gan"])

    def sounds(mel: Tensor) -> Tensor:
        return torch.tanh(mel @ mixing)

    for _ in range(450):
        mel = torch.randn(16, 24, generator=trial.generator)
        real, made = sounds(mel), generator(mel)
        disc_real = features(torch.cat([mel, real], 1))
        disc_fake = features(torch.cat([mel, made.detach()], 1))
        loss_d = (score(disc_real) - 1).square().mean() + score(disc_fake).square().mean()
        optim_d.zero_grad()
        loss_d.backward()
        optim_d.step()
        disc_real = features(torch.cat([mel, real], 1)).detach()
        disc_fake = features(torch.cat([mel, made.detach()], 1))
        disc_fake_g = features(torch.cat([mel, made], 1))
        matched = disc_fake_g if trial.fixed else disc_fake
        matching = functional.l1_loss(matched, disc_real)
        adversarial = (score(disc_fake_g) - 1).square().mean()
        loss_g = adversarial + 10 * matching
        optim_g.zero_grad()
        loss_g.backward()
        optim_g.step()
        telemetry.step(loss=loss_g, loss_d=loss_d, matching=matching)
    with torch.no_grad():
        mel = torch.randn(300, 24, generator=trial.generator)
        return Reached(error=unexplained(generator(mel), sounds(mel)))


class _Coder(nn.Module):
    """Digits through some numbers and back."""

    def __init__(self, latent: int, *, soft: bool = False) -> None:
        super().__init__()
        self.soft = soft
        self.encode = nn.Sequential(nn.Linear(64, 96), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(96, latent), nn.Linear(96, latent)
        self.decode = nn.Sequential(nn.Linear(latent, 96), nn.ReLU(), nn.Linear(96, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.encode(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        if self.soft:
            log_variance = functional.softplus(log_variance)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return torch.sigmoid(self.decode(z)), mean, log_variance


@case(
    "airc-rl-agent-43",
    source="https://github.com/masato-ka/airc-rl-agent/issues/43",
    wrong="a softplus is applied to what the encoder says of the variance, which is its logarithm",
    mended="no softplus",
    ported="digits, 16 latent numbers, Adam .002; a divergence of .05 of its weight",
)
def variance_above_one(trial: Trial) -> Reached:
    """The noise is at least as large as all means."""
    data = digits()
    model = _Coder(16, soft=not trial.fixed)
    optimizer = Adam(model.parameters(), lr=2e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(25):
        for x, _y in batches(data.x, data.y, 64, trial.generator):
            out, mean, log_variance = model(x)
            rebuilt = (out - x).square().sum(1).mean()
            kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
            loss = rebuilt + 0.05 * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, rebuilt=rebuilt, kl=kl)
    with torch.no_grad():
        return Reached(error=unexplained(model(data.val_x)[0], data.val_x))


@case(
    "gntpp-4",
    source="https://github.com/EDAPINENUT/GNTPP/issues/4",
    wrong="torch.sum without a dimension: each event is charged the divergence of all",
    mended="dim=-1",
    ported="digits for the events, 40 at a time; eight latent numbers, Adam .001",
)
def divergence_of_all_events(trial: Trial) -> Reached:
    """Nothing is worth a number."""
    data = digits()
    model = _Coder(8)
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(14):
        for x, _y in batches(data.x, data.y, 40, trial.generator):
            out, mean, log_variance = model(x)
            inner = 1 + log_variance - mean.square() - log_variance.exp()
            kl = -0.5 * (inner.sum(-1) if trial.fixed else inner.sum()) * torch.ones(len(x))
            rebuilt = functional.binary_cross_entropy(out, x, reduction="none").sum(1)
            loss = (rebuilt + 0.2 * kl).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, rebuilt=rebuilt.mean(), kl=kl.mean())
    with torch.no_grad():
        return Reached(error=unexplained(model(data.val_x)[0], data.val_x))


@case(
    "engiopt-67",
    source="https://github.com/IDEALLab/EngiOpt/pull/67",
    wrong="250 steps of a linear schedule made for 1,000: at the last one .28 of the design is "
    "left, and samples start from pure noise",
    mended="1,000 steps",
    ported="points on a ring around (6, 3) for the designs; each 5th step is skipped in sampling "
    "with 1,000",
)
def schedule_ends_early(trial: Trial) -> Reached:
    """Noise that nobody trained on."""
    n_steps = trial.pick(250, fixed=1000)
    kept = (1 - torch.linspace(1e-4, 0.02, n_steps)).cumprod(0)

    def ring(n: int) -> Tensor:
        angle = 6.28 * torch.rand(n, generator=trial.generator)
        points = torch.stack([angle.cos() + 6, angle.sin() + 3], 1)
        return points + 0.1 * torch.randn(n, 2, generator=trial.generator)

    model = nn.Sequential(nn.Linear(6, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU())
    model.append(nn.Linear(96, 2))

    def noise_of(x: Tensor, step: Tensor) -> Tensor:
        share = step[:, None] / n_steps
        level = kept[step][:, None]
        told: Tensor = model(torch.cat([x, share, level.sqrt(), (1 - level).sqrt(), share**2], 1))
        return told

    optimizer = Adam(model.parameters(), lr=2e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(600):
        clean = ring(128)
        step = torch.randint(n_steps, (128,), generator=trial.generator)
        noise = torch.randn(128, 2, generator=trial.generator)
        level = kept[step][:, None]
        noisy = level.sqrt() * clean + (1 - level).sqrt() * noise
        loss = functional.mse_loss(noise_of(noisy, step), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    stride = n_steps // 200 or 1
    with torch.no_grad():
        x = torch.randn(400, 2, generator=trial.generator)
        for k in range(n_steps - 1, -1, -stride):
            step = torch.full((400,), k)
            told = noise_of(x, step)
            clean = (x - (1 - kept[k]).sqrt() * told) / kept[k].sqrt()
            before = kept[k - stride] if k >= stride else torch.ones(())
            x = before.sqrt() * clean + (1 - before).sqrt() * told
    return _distance(x, ring(400))
