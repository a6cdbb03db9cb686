"""Two views of a sample are pulled together; what keeps different samples apart is an option."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_IN, WIDTH, N_OUT = 32, 64, 16


def train(record: Record, *, seed: int, method: str = "negatives", steps: int = 150) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        method: `negatives` (a contrastive loss), `variance` (deviations are kept at one), `none`,
            which collapses, or `distance`: other samples are pushed away, however far they are.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(N_IN, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, N_OUT),
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with record(model, optimizer) as telemetry:
        for _ in range(steps):
            x = torch.randn(64, N_IN, generator=generator)
            noise = 0.5 * torch.randn(2, 64, N_IN, generator=generator)
            loss = _loss(model(x + noise[0]), model(x + noise[1]), method)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)


def _loss(one: Tensor, other: Tensor, method: str) -> Tensor:
    if method == "negatives":
        a, b = functional.normalize(one, dim=1), functional.normalize(other, dim=1)
        return functional.cross_entropy(a @ b.T / 0.2, torch.arange(len(a)))
    pulled = (one - other).square().mean()
    if method == "distance":
        return pulled - (one - other.roll(1, 0)).square().mean() / 2
    if method == "variance":
        return (
            pulled
            + functional.relu(1 - one.std(0)).mean()
            + functional.relu(1 - other.std(0)).mean()
        )
    return (1 - functional.cosine_similarity(one, other)).mean()
