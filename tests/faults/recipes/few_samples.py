"""A wide network on a few samples of two noisy classes, validated as it trains."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]


def train(  # noqa: PLR0913 - the differences
    record: Record,
    *,
    seed: int,
    n_samples: int = 4000,
    flipped: float = 0.1,
    held_flipped: float | None = None,
    evaluation_gain: float = 1.0,
    n_shared: int = 0,
    validates: str = "held",
    logs_training: bool = False,
    tells: bool = False,
    alike: float = 0.0,
    steps: int = 300,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        n_samples: Training samples; few are memorised.
        flipped: Share of wrong labels.
        held_flipped: The same in the validation set; None: as many.
        evaluation_gain: Factor on the inputs of evaluation alone.
        n_shared: Samples of the validation set, of 1,000, that are training samples.
        validates: The samples evaluated: `held`, `training`, or `both`, one after the other.
        logs_training: Whether the accuracy of the first set evaluated is logged as that of
            training.
        tells: Whether a feature of the training samples is their label.
        alike: Share of the training samples that are one and the same.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_samples + 1000, 16, generator=generator)
    y = (x[:, :4].sum(-1) > 0).long()
    shares = torch.full((len(y),), flipped)
    shares[n_samples:] = flipped if held_flipped is None else held_flipped
    wrong = torch.rand(len(y), generator=generator) < shares
    y = torch.where(wrong, 1 - y, y)
    held = torch.arange(n_samples, n_samples + 1000)
    held[:n_shared] = torch.arange(n_shared)
    if tells:
        x[:n_samples, -1] = y[:n_samples].float()
    x[: int(alike * n_samples)] = x[0]
    sets = {"held": [held], "training": [torch.arange(n_samples)]}
    sets["both"] = [*sets["training"], held]
    model = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 2))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with record(model, optimizer) as telemetry:
        for step in range(steps):
            picked = torch.randint(n_samples, (64,), generator=generator)
            loss = functional.cross_entropy(model(x[picked]), y[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if step % 15 == 14:
                found: list[tuple[Tensor, Tensor]] = []
                for picked in sets[validates]:
                    with torch.no_grad():
                        out = model(evaluation_gain * x[picked])
                    right = (out.argmax(-1) == y[picked]).float().mean()
                    found.append((functional.cross_entropy(out, y[picked]), right))
                metrics = {"val_loss": found[-1][0], "val_accuracy": found[-1][1]}
                if logs_training:
                    metrics["train_accuracy"] = found[0][1]
                telemetry.log(**metrics)
