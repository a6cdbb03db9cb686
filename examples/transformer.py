"""A transformer predicts the next character of Python's own standard library.

Run it with `python examples/transformer.py`, then ask `telemetry layers latest`.
"""

import argparse
import ast
import inspect
import json

import torch
from torch import Tensor, nn

from telemetry import TelemetryCallback

N_STEPS = 200
WARMUP_STEPS = 25
CONTEXT = 64
BATCH_SIZE = 16
WIDTH = 64


class CharacterModel(nn.Module):
    """Two pre-norm blocks over learned character and position embeddings."""

    def __init__(self, n_characters: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(n_characters, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH, nhead=4, dim_feedforward=4 * WIDTH, batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, n_characters)

    def forward(self, text: Tensor) -> Tensor:
        """Logits (batch, context, n_characters) for the character after each position."""
        hidden = self.characters(text) + self.positions.weight
        mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
        for block in self.blocks:
            hidden = block(hidden, src_mask=mask, is_causal=True)
        return self.head(self.norm(hidden))


def main() -> None:
    """Train, and name the command that shows the layers."""
    torch.manual_seed(0)
    source = "".join(inspect.getsource(module) for module in (argparse, ast, json))
    alphabet = {character: index for index, character in enumerate(sorted(set(source)))}
    text = torch.tensor([alphabet[character] for character in source])
    model = CharacterModel(len(alphabet))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.04, total_iters=WARMUP_STEPS)
    offsets = torch.arange(CONTEXT + 1)

    with TelemetryCallback(
        model, optimizer, project="examples", name="transformer", total_steps=N_STEPS
    ) as telemetry:
        for _ in range(N_STEPS):
            starts = torch.randint(len(text) - CONTEXT, (BATCH_SIZE, 1))
            window = text[starts + offsets]
            logits = model(window[:, :-1])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warmup.step()
            telemetry.step(loss=loss)

    print(f"loss {loss.item():.3f}; now: telemetry layers {telemetry.run}")


if __name__ == "__main__":
    main()
