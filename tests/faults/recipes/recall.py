"""A recurrent network that names one token of a sequence, by default the first."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]


class Recall(nn.Module):
    """One recurrent layer, read out at the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(6, 24, batch_first=True)
        self.head = nn.Linear(24, 6)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token."""
        return self.head(self.rnn(functional.one_hot(tokens, 6).float())[0][:, -1])


def train(
    record: Record,
    *,
    seed: int,
    length: int = 3,
    asked: int = 0,
    steps: int = 120,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        length: Tokens of a sequence.
        asked: Place of the token that is asked for.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    model = Recall()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(seed)
    with record(model, optimizer) as telemetry:
        for _ in range(steps):
            tokens = torch.randint(6, (32, length), generator=generator)
            loss = functional.cross_entropy(model(tokens), tokens[:, asked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
