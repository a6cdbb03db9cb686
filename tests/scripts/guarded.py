"""A student that learns from a teacher without gradient, behind a main guard."""

import torch
from torch import nn

from telemetry import TelemetryCallback


def main() -> None:
    torch.manual_seed(4)
    teacher = nn.Linear(3, 2)
    student = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
    telemetry = TelemetryCallback(student, optimizer)
    for _ in range(6):
        values = torch.randn(4, 3)
        with torch.no_grad():
            targets = teacher(values)
        loss = nn.functional.huber_loss(student(values), targets)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 0.1)
        optimizer.step()
        telemetry.step(loss=loss)
    telemetry.close()
    print(f"{loss.item():.6f}")


if __name__ == "__main__":
    main()
