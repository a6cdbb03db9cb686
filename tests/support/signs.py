"""Signs whose difference is planted, and a model that sees nothing else."""

import torch
from torch import Tensor, nn

SIDE = 16
COVER = (slice(4, 8), slice(6, 10))  # four cells of 2 x 2


class Signs:
    """A sign with a bright bar, its covered twin in another light, and one elsewhere altogether."""

    classes = ("other", "sign")
    value_range = (0.0, 1.0)

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(4)
        self.images = 0.3 + 0.02 * torch.rand(4, 1, SIDE, SIDE, generator=generator)
        for index in (0, 1):
            self.images[index, 0, COVER[0], COVER[1]] = 0.9
        self.images[0, 0, COVER[0], COVER[1]] = 0.1  # covered
        self.images[1] += 0.03
        self.images[2] = torch.rand(1, SIDE, SIDE, generator=generator)
        self.images[2, 0, COVER[0], COVER[1]] = 0.9

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(index < 3)


class Bar(nn.Module):
    """Says `sign` where half of the bar at least is bright."""

    def forward(self, x: Tensor) -> Tensor:
        score = 20 * (x[:, 0, COVER[0], COVER[1]].flatten(1).mean(1) - 0.45)
        return torch.stack([-score, score], dim=1)
