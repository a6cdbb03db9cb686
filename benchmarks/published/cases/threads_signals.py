"""Threads: heads, starts, masks, posteriors, and representations that collapse."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Trial, case
from published.material import accuracy, batches, cut, digits, unexplained


class _Posterior(nn.Module):
    """A variational autoencoder of digits."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(64, 8), nn.Linear(64, 8)
        self.decode = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.encode(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decode(z), mean, log_variance


def _autoencoded(trial: Trial, *, bernoulli: bool) -> Reached:
    """Reconstruction as a mean over everything, or a sum over the pixels; divergence as a sum."""
    data = digits()
    model = _Posterior()
    optimizer = Adam(model.parameters(), lr=2e-3)
    telemetry = trial.record(model, optimizer)
    loss_of = functional.binary_cross_entropy_with_logits if bernoulli else functional.mse_loss
    for _ in range(15):
        for x, _y in batches(data.x, data.y, 32, trial.generator):
            out, mean, log_variance = model(x)
            per_pixel = loss_of(out, x, reduction="none")
            rebuilt = trial.pick(per_pixel.mean(), fixed=per_pixel.sum(1).mean())
            divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp())
            kl = divergence.sum(1).mean()
            loss = rebuilt + (kl if bernoulli else 0.5 * kl)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            active = (divergence.detach().mean(0) > 0.01).float().mean()
            telemetry.step(loss=loss, reconstruction=rebuilt, kl=kl, kl_active_share=active)
    with torch.no_grad():
        out = model(data.val_x)[0]
        return Reached(error=unexplained(out.sigmoid() if bernoulli else out, data.val_x))


@case(
    "mmvae-19",
    source="https://github.com/zdebruine/MMVAE/pull/19",
    wrong="divergence summed, squared error as a mean: the divergence drops to 0 in a few epochs",
    mended="both on the same scale",
    ported="digits, eight dimensions",
)
def divergence_outweighs(trial: Trial) -> Reached:
    """A posterior that says nothing."""
    return _autoencoded(trial, bernoulli=False)


@case(
    "keras-3383",
    source="https://github.com/keras-team/keras/pull/3383",
    wrong="crossentropy as a mean over the pixels beside a summed divergence",
    mended="times the number of pixels",
    ported="digits, eight dimensions",
)
def crossentropy_of_a_pixel(trial: Trial) -> Reached:
    """A posterior that says nothing."""
    return _autoencoded(trial, bernoulli=True)


@case(
    "lightly-559",
    source="https://github.com/lightly-ai/lightly/issues/559",
    wrong="the projections of SimSiam are not detached",
    mended="detached",
    ported="digits with noise; no BatchNorm, so that it shows within 250 steps",
)
def not_detached(trial: Trial) -> Reached:
    """Everything becomes one point."""
    data = digits()
    encoder = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 32))
    predictor = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 32))
    model = nn.ModuleDict({"encoder": encoder, "predictor": predictor})
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    for _ in range(11):
        for x, _y in batches(data.x, data.y, 64, trial.generator):
            views = [x + 0.2 * torch.randn(x.shape, generator=trial.generator) for _ in range(2)]
            z0, z1 = (encoder(view) for view in views)
            p0, p1 = predictor(z0), predictor(z1)
            if trial.fixed:
                z0, z1 = z0.detach(), z1.detach()
            loss = -0.5 * (
                functional.cosine_similarity(p0, z1).mean()
                + functional.cosine_similarity(p1, z0).mean()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    encoder.eval()
    with torch.no_grad():
        unit = functional.normalize(encoder(data.val_x), dim=1)
    return Reached(share=float(unit.std(0).mean()) * 32**0.5)


class _Attending(nn.Module):
    """Attention by hand over sequences with padding; the last word comes first once more."""

    def __init__(self, *, hides_rows: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 32)
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))
        self.head = nn.Linear(32, 20)
        self.hides_rows = hides_rows

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words)
        scores = self.query(x) @ self.key(x).transpose(1, 2) / 32**0.5
        real = words != 0
        seen = real[:, :, None] if self.hides_rows else real[:, None, :]
        shares = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        out: Tensor = self.head(x + shares @ self.value(x))
        return out


def _padded(trial: Trial, *, from_step: int) -> Reached:
    """Words that are followed by a number for each; padding begins after so many steps."""
    model = _Attending(hides_rows=not trial.fixed)
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    loss = torch.zeros(())
    for step in range(200):
        words = torch.randint(1, 20, (16, 10), generator=trial.generator)
        if step >= from_step:
            words[: 1 + step % 4, 7:] = 0
        target = torch.where(words > 0, (7 * words) % 19 + 1, -100)
        out = model(words)
        loss = functional.cross_entropy(out.flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    return Reached(error=float(loss.detach()))


@case(
    "transformer-40",
    source="https://github.com/hyunwoongko/transformer/pull/40",
    wrong="the mask of padding hides rows instead of columns: with -inf a row is NaN",
    mended="unsqueeze(1).unsqueeze(2)",
    ported="one head; padding from the first batch",
)
def mask_of_rows(trial: Trial) -> Reached:
    """A softmax over nothing."""
    return _padded(trial, from_step=0)


@case(
    "attention-5",
    source="https://github.com/jadore801120/attention-is-all-you-need-pytorch/issues/5",
    wrong="masked scores are -inf; a row in which all are masked gives NaN",
    mended="such rows do not come about",
    ported="one head; the first sequence with padding comes at step 60",
)
def masked_altogether(trial: Trial) -> Reached:
    """A softmax over nothing."""
    return _padded(trial, from_step=60)


@case(
    "lavt-25",
    source="https://github.com/yz93/LAVT-RIS/issues/25",
    wrong="the weights of two layers in a row start at zero: neither gets a gradient",
    mended="only the second starts at zero",
    ported="a branch beside a linear layer; two classes that no line parts",
)
def two_zero_layers(trial: Trial) -> Reached:
    """A product of two zeros."""
    x = torch.randn(1500, 6, generator=trial.generator)
    data = cut(x, (x[:, 0] * x[:, 1] > 0).long())

    class _Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 64, bias=False)
            self.second = nn.Linear(64, 2, bias=False)
            self.direct = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.direct(x) + self.second(torch.relu(self.first(x)))
            return out

    model = _Gated()
    nn.init.zeros_(model.second.weight)
    if not trial.fixed:
        nn.init.zeros_(model.first.weight)
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "mnemosyne-1987",
    source="https://github.com/HomericIntelligence/Mnemosyne/pull/1987",
    wrong="each weight of a layer starts with the same value: the loss stays near ln(classes)",
    mended="values that differ",
    ported="digits, two hidden layers",
)
def uniform_fill(trial: Trial) -> Reached:
    """All units of a layer are one unit."""
    data = digits()
    model = nn.Sequential(
        *(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)),
    )
    if not trial.fixed:
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.constant_(layer.weight, 0.05)
                nn.init.zeros_(layer.bias)
    optimizer = SGD(model.parameters(), lr=0.1)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "nuscenes-728",
    source="https://github.com/nutonomy/nuscenes-devkit/issues/728",
    wrong="no nonlinearity between the two linear layers of the head",
    mended="ReLU between them",
    ported="the head alone, on a curve",
)
def no_nonlinearity(trial: Trial) -> Reached:
    """Two layers that are one."""
    x = torch.randn(1200, 5, generator=trial.generator)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2].abs() - 0.8], 1)
    between = [nn.ReLU()] if trial.fixed else []
    model = nn.Sequential(nn.Linear(5, 128), *between, nn.Linear(128, 2))
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for inputs, targets in batches(x[:960], y[:960], 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(x[960:]), y[960:]))


@case(
    "syllabus-208",
    source="https://github.com/UC-IIC2613/Syllabus/issues/208",
    wrong="tanh at the end of a network for a continuous target: it does not train",
    mended="no activation at the end",
    ported="prices of 2 to 60, four inputs",
)
def tanh_at_the_end(trial: Trial) -> Reached:
    """Minus one to one for two to sixty."""
    x = torch.randn(800, 4, generator=trial.generator)
    y = (2 + 6 * (x[:, :1] + 2).clamp(min=0) + 4 * x[:, 1:2].abs()).clamp(2, 60)
    end = trial.pick(nn.Tanh(), fixed=nn.Identity())
    model = nn.Sequential(
        *(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1), end),
    )
    optimizer = Adam(model.parameters(), lr=5e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(15):
        for inputs, targets in batches(x[:640], y[:640], 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(x[640:]), y[640:]))


@case(
    "i3d-58",
    source="https://github.com/piergiaj/pytorch-i3d/issues/58; "
    "https://github.com/hassony2/kinetics_i3d_pytorch/issues/6",
    wrong="nn.Dropout is given the probability to keep (0.9) as that to drop",
    mended="1 - dropout_keep_prob",
    ported="dropout before the last two layers; digits",
)
def keeps_for_drops(trial: Trial) -> Reached:
    """Nine tenths are gone."""
    data = digits()
    keep = 0.9
    p = trial.pick(keep, fixed=1 - keep)
    model = nn.Sequential(
        *(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(p)),
        *(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 10)),
    )
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        model.train()
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))
