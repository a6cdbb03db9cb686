"""A GAN on a ring of eight blobs: one model, two optimizers, one callback.

The tag `gan` says that the losses are a game and need not fall. Run it with
`python examples/gan.py`, then ask `telemetry layers latest`.
"""

import math

import torch
from torch import Tensor, nn

from telemetry import TelemetryCallback

N_STEPS = 800
BATCH_SIZE = 128
N_NOISE = 8


def mlp(n_inputs: int, n_outputs: int) -> nn.Sequential:
    """Two hidden layers of 64 units."""
    return nn.Sequential(
        nn.Linear(n_inputs, 64), nn.LeakyReLU(0.2),
        nn.Linear(64, 64), nn.LeakyReLU(0.2),
        nn.Linear(64, n_outputs),
    )  # fmt: skip


def ring() -> Tensor:
    """Points (batch, 2) from eight blobs on the unit circle."""
    angle = torch.randint(8, (BATCH_SIZE,)) * (math.pi / 4)
    centre = torch.stack([angle.cos(), angle.sin()], dim=1)
    return centre + 0.05 * torch.randn_like(centre)


def main() -> None:
    """Train both players, and name the command that shows their layers."""
    torch.manual_seed(0)
    generator, critic = mlp(N_NOISE, 2), mlp(2, 1)
    game = nn.ModuleDict({"generator": generator, "critic": critic})
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    real, fake = torch.ones(BATCH_SIZE, 1), torch.zeros(BATCH_SIZE, 1)

    with TelemetryCallback(
        game,
        [critic_optimizer, generator_optimizer],
        project="examples",
        name="gan",
        tags=("gan",),
    ) as telemetry:
        for _ in range(N_STEPS):
            samples = generator(torch.randn(BATCH_SIZE, N_NOISE))
            critic_loss = criterion(critic(ring()), real)
            critic_loss = critic_loss + criterion(critic(samples.detach()), fake)
            critic_optimizer.zero_grad()
            critic_loss.backward()
            critic_optimizer.step()

            generator_loss = criterion(critic(samples), real)
            generator_optimizer.zero_grad()
            generator_loss.backward()
            generator_optimizer.step()
            telemetry.step(loss=generator_loss, critic_loss=critic_loss)

    print(f"critic loss {critic_loss.item():.3f}; now: telemetry layers {telemetry.run}")


if __name__ == "__main__":
    main()
