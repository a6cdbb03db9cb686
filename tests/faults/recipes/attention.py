"""One attention over tokens: which of two tokens occurs more often in a sequence."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
WIDTH = 32


class Majority(nn.Module):
    """Embeddings of tokens and positions, attention, mean, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, WIDTH)
        self.positions = nn.Parameter(torch.randn(15, WIDTH))  # else equal tokens share a query
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        x = self.embed(tokens) + self.positions
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def train(record: Record, *, seed: int, query_gain: float = 1.0, steps: int = 120) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        query_gain: Factor on the weights of queries and keys.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Majority()
    with torch.no_grad():
        model.attention.in_proj_weight[: 2 * WIDTH].mul_(query_gain)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with record(model, optimizer) as telemetry:
        for _ in range(steps):
            tokens = torch.randint(8, (64, 15), generator=generator)
            labels = ((tokens == 0).sum(1) > (tokens == 1).sum(1)).long()
            loss = functional.cross_entropy(model(tokens), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
