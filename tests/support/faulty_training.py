"""A training with so many faults that nearly every remedy has something to change."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from telemetry import TelemetryCallback

N_MICRO = 2
Watch = Callable[[nn.Module, Optimizer], TelemetryCallback | None]


def train_faulty(watch: Watch, *, momentum: float | None = None) -> list[Tensor]:
    """It maximises, decays, forgets to clear, steps twice, stays in eval mode, and so on.

    Args:
        watch: Makes the callback.
        momentum: Of SGD; None: Adam with a large epsilon.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    data = TensorDataset(torch.randn(16, 4), torch.randint(3, (16,)))
    settings = {"lr": 1e-4, "weight_decay": 0.1, "maximize": True}
    optimizer: Optimizer = (
        torch.optim.Adam(model.parameters(), eps=1.0, **settings)  # type: ignore[arg-type]
        if momentum is None
        else torch.optim.SGD(model.parameters(), momentum=momentum, **settings)  # type: ignore[arg-type]
    )
    schedule = StepLR(optimizer, 1, 0.5)
    telemetry = watch(model, optimizer)
    model.eval()
    for _ in range(2):
        for number, batch in enumerate(DataLoader(data, batch_size=4)):
            loss = _backward(model, *batch)
            if number % N_MICRO:
                optimizer.step()
                optimizer.step()
                if telemetry is not None:
                    telemetry.step(loss=loss)
        schedule.step()
    if telemetry is not None:
        telemetry.close()
    state = [tensor.clone() for tensor in model.state_dict().values()]
    return [*state, torch.get_rng_state()]


def _backward(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(inputs)
    shares = functional.softmax(outputs.float(), -1)
    loss = functional.cross_entropy(shares, labels)
    loss = loss + functional.mse_loss(outputs.float()[:, 0], 3 + labels.float())
    loss.backward()
    return loss.detach()
