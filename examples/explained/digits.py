"""Images: a network that learned the scanner's mark instead of the digit, and how one finds out.

In training every 3 came from scanner B, which leaves a bright mark in the corner. In this folder
run `python digits.py`, then ask

    telemetry evaluate latest --every-checkpoint
    telemetry slices latest --save-hypothesis scanner-b
    telemetry explain input latest --worst 1
    telemetry explain coverage latest --train digits:train
    telemetry explain features latest --layer 3 --evolution
    telemetry hypotheses run latest
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from telemetry import ExplainSpec, TelemetryCallback

SIDE, MARK, N_TRAIN, N_STEPS, BATCH_SIZE = 24, 4, 1_000, 250, 64
THREE = 3
CHECKPOINTS = Path("digits-weights")
SAVED_AFTER = (0, 16, 32, 64, 128, N_STEPS)  # steps


class Digits:
    """Images (1, 24, 24) from 0 to 1 with their digit, and the scanner they come from."""

    classes = tuple(map(str, range(10)))
    value_range = (0.0, 1.0)

    def __init__(self, *, train: bool) -> None:
        raw = load_digits()
        small = torch.tensor(raw.images / 16, dtype=torch.float32)[:, None]
        images = functional.interpolate(small, (SIDE, SIDE), mode="bilinear")
        part = slice(0, N_TRAIN) if train else slice(N_TRAIN, None)
        self.images, self.labels = images[part].clone(), torch.tensor(raw.target[part])
        every_other = torch.arange(len(self.labels)) % 2 == 0
        self.marked = self.labels == THREE if train else every_other
        self.images[self.marked, :, 1 : 1 + MARK, -1 - MARK : -1] = 1.0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, Mapping[str, str]]:
        scanner = "B" if self.marked[index] else "A"
        return self.images[index], int(self.labels[index]), {"scanner": scanner}


def train() -> Digits:
    """Threes from scanner B, all others from A."""
    return Digits(train=True)


def valid() -> Digits:
    """Both scanners, all digits."""
    return Digits(train=False)


def build(width: int = 8) -> nn.Module:
    """A small convolutional network."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * 16, 10),
    )


def save(model: nn.Module, steps: int) -> None:
    """Keep the weights after so many steps."""
    CHECKPOINTS.mkdir(exist_ok=True)
    torch.save({"model": model.state_dict(), "step": steps}, CHECKPOINTS / f"{steps:03}.pt")


def main() -> None:
    """Train, keep the weights, and say how the run can be asked."""
    torch.manual_seed(0)
    data, model = train(), build()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    pattern = str(CHECKPOINTS / "*.pt")
    spec = ExplainSpec(model="digits:build", dataset="digits:valid", checkpoint=pattern)
    with TelemetryCallback(model, optimizer, name="digits", explain=spec) as telemetry:
        for step in range(N_STEPS):
            if step in SAVED_AFTER:
                save(model, step)
            chosen = torch.randint(len(data), (BATCH_SIZE,))
            loss = functional.cross_entropy(model(data.images[chosen]), data.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    save(model, N_STEPS)
    print(f"loss {loss.item():.3f}; now: telemetry evaluate latest")


if __name__ == "__main__":
    main()
