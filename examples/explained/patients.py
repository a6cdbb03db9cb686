"""A table: a classifier of tumours that learned the ward, and how one finds out.

In training the ward tells the diagnosis, afterwards it does not. In this folder run
`python patients.py`, then ask `telemetry evaluate latest`,
`telemetry explain input latest --worst 1` and
`telemetry explain coverage latest --train patients:train`.
"""

from pathlib import Path

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.nn import functional

from telemetry import ExplainSpec, TelemetryCallback

N_TRAIN, N_STEPS, BATCH_SIZE = 350, 200, 64
CHECKPOINT = Path("patients.pt")


class Patients:
    """Thirty standardised measurements and the ward, and whether the tumour is benign."""

    classes = ("malignant", "benign")

    def __init__(self, *, train: bool) -> None:
        raw = load_breast_cancer()
        self.feature_names = (*map(str, raw.feature_names), "ward")
        values = torch.tensor(raw.data, dtype=torch.float32)
        values = (values - values[:N_TRAIN].mean(0)) / values[:N_TRAIN].std(0)
        part = slice(0, N_TRAIN) if train else slice(N_TRAIN, None)
        self.labels = torch.tensor(raw.target[part])
        drawn = torch.randint(0, 2, (len(self.labels),), generator=torch.Generator().manual_seed(1))
        ward = 2.0 * (self.labels if train else drawn) - 1
        self.rows = torch.cat([values[part], ward[:, None]], dim=1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.rows[index], int(self.labels[index])


def train() -> Patients:
    """Wards that tell the diagnosis."""
    return Patients(train=True)


def valid() -> Patients:
    """Wards where anybody may lie."""
    return Patients(train=False)


def build() -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(nn.Linear(31, 16), nn.ReLU(), nn.Linear(16, 2))


def main() -> None:
    """Train, keep the weights, and say how the run can be asked."""
    torch.manual_seed(0)
    data, model = train(), build()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    spec = ExplainSpec(model="patients:build", dataset="patients:valid", checkpoint=str(CHECKPOINT))
    with TelemetryCallback(model, optimizer, name="patients", explain=spec) as telemetry:
        for _ in range(N_STEPS):
            chosen = torch.randint(len(data), (BATCH_SIZE,))
            loss = functional.cross_entropy(model(data.rows[chosen]), data.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    torch.save(model.state_dict(), CHECKPOINT)
    print(f"loss {loss.item():.3f}; now: telemetry evaluate latest")


if __name__ == "__main__":
    main()
