"""A convnet on handwritten digits, evaluated after each epoch.

The forward passes of the evaluation need no mark: they carry no gradient and their result is
logged. Run it with `python examples/convnet.py`, then ask `telemetry diagnose latest`.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from telemetry import TelemetryCallback

N_EPOCHS = 12


def digits() -> tuple[DataLoader, DataLoader]:
    """Loaders of the training and of the validation half."""
    source = load_digits()
    images = torch.tensor(source.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    data = TensorDataset(images, torch.tensor(source.target))
    train, validation = random_split(data, [1_437, 360])
    return DataLoader(train, batch_size=64, shuffle=True), DataLoader(validation, batch_size=360)


def evaluate(model: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """Mean loss and accuracy over the loader."""
    model.eval()
    loss_sum, n_right, n = 0.0, 0, 0
    with torch.no_grad():
        for images, labels in loader:
            logits = model(images)
            loss_sum += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            n_right += (logits.argmax(1) == labels).sum().item()
            n += len(labels)
    model.train()
    return loss_sum / n, n_right / n


def main() -> None:
    """Train, and name the command that judges the result."""
    torch.manual_seed(0)
    train, validation = digits()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 4 * 4, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    config = {"lr": 1e-3, "dropout": 0.2, "epochs": N_EPOCHS}

    with TelemetryCallback(
        model, optimizer, project="examples", name="convnet", config=config
    ) as telemetry:
        for _ in range(N_EPOCHS):
            for images, labels in train:
                loss = nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                telemetry.step(loss=loss)
            val_loss, val_accuracy = evaluate(model, validation)
            telemetry.log(val_loss=val_loss, val_accuracy=val_accuracy)

    print(f"accuracy {val_accuracy:.3f}; now: telemetry diagnose {telemetry.run}")


if __name__ == "__main__":
    main()
