"""Trains inside a class, at the top level of the file; told to, fails in the last forward."""

import sys

import torch
from torch import Tensor, nn

from telemetry import TelemetryCallback


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))

    def forward(self, values: Tensor) -> Tensor:
        return values + self.inner(values)


class Trainer:
    def __init__(self, *, lr: float = 0.05) -> None:
        self.model = nn.Sequential(Residual(6), nn.LayerNorm(6), nn.Linear(6, 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 2)

    def fit(self, n_steps: int) -> float:
        telemetry = TelemetryCallback(self.model, self.optimizer)
        for _ in range(n_steps):
            values = torch.randn(5, 6)
            loss = nn.functional.mse_loss(self.model(values), values.sum(1, keepdim=True))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            telemetry.step(loss=loss)
        telemetry.close()
        return loss.item()


torch.manual_seed(3)
trainer = Trainer()
print(f"{trainer.fit(6):.6f}")
if "--fail" in sys.argv:
    trainer.model(torch.zeros(1, 5))
