"""Threads: losses of distances."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from published.case import Reached, Trial, case
from published.material import blobs, digits


class _Siamese(nn.Module):
    """Embeddings of pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(64, 32), nn.PReLU(), nn.Linear(32, 8))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed(first), self.embed(second)


@case(
    "siamese-triplet-18",
    source="https://github.com/adambielski/siamese-triplet/issues/18",
    wrong="the root of a distance that is 0, for two samples are the same: NaN",
    mended="a small epsilon under the root",
    ported="pairs of digits, some of which are one digit twice",
)
def root_of_no_distance(trial: Trial) -> Reached:
    """The derivative of a root at zero."""
    data = digits()
    epsilon = trial.pick(0.0, fixed=1e-9)
    model = _Siamese()
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    loss = torch.zeros(())
    for step in range(200):
        rows = torch.randint(1400, (2, 32), generator=trial.generator)
        if step % 20 == 13:
            rows[1, 0] = rows[0, 0]
        first, second = model(data.x[rows[0]], data.x[rows[1]])
        same = (data.y[rows[0]] == data.y[rows[1]]).float()
        distances = (second - first).pow(2).sum(1)
        apart = functional.relu(1 - (distances + epsilon).sqrt()).pow(2)
        loss = (0.5 * (same * distances + (1 - same) * apart)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    return Reached(error=float(loss.detach()))


@case(
    "metric-learning-107",
    source="https://github.com/KevinMusgrave/pytorch-metric-learning/issues/107",
    wrong="the mean over triplets that are not zero yet, of which there are none: NaN",
    mended="divided by their number only where there are some",
    ported="triplets of blobs",
)
def mean_over_no_triplets(trial: Trial) -> Reached:
    """Zero divided by zero."""
    data = blobs(13, n=900, features=8, classes=2, spread=0.3)
    embed = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = Adam(embed.parameters(), lr=3e-3)
    telemetry = trial.record(embed, optimizer)
    sets = [data.x[data.y == label] for label in (0, 1)]
    loss = torch.zeros(())
    for _ in range(200):
        draws = [torch.randint(300, (8,), generator=trial.generator) for _ in range(3)]
        anchor, positive = embed(sets[0][draws[0]]), embed(sets[0][draws[1]])
        negative = embed(sets[1][draws[2]])
        near = (anchor - positive).square().sum(1)
        far = (anchor - negative).square().sum(1)
        relued = functional.relu(near - far + 0.2)
        count = (relued > 0).sum()
        if trial.fixed:
            count = count.clamp(min=1)
        loss = relued.sum() / count
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    return Reached(error=float(loss.detach()) + 1.0)
