"""Small pictures and networks with planted features, for the tests of layers and their units."""

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 12
CLASSES = ("left", "right", "bar")


def templates() -> Tensor:
    """What three classes look for, shape (3, 1, 12, 12): light in one place, dark around it."""
    found = torch.full((3, 1, SIDE, SIDE), -0.1)
    found[0, 0, 1:5, 1:5] = 1
    found[1, 0, 7:11, 7:11] = 1
    found[2, 0, 5:7, :] = 1
    return found


class Pictures:
    """Thirty faint pictures of the templates under noise."""

    classes = CLASSES
    value_range = (0.0, 1.0)

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = [index % 3 for index in range(30)]
        light = (templates() > 0).float()[self.labels]
        strength = 0.2 + 0.3 * torch.rand(30, 1, 1, 1, generator=generator)
        noise = torch.rand(30, 1, SIDE, SIDE, generator=generator)
        self.inputs = 0.5 * noise + strength * light

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], self.labels[index]

    def example_id(self, index: int) -> str:
        return f"p{index}"


def build() -> nn.Module:
    """Its logits are the products with the templates; a fourth unit before them is dead."""
    hidden, output = nn.Linear(SIDE * SIDE, 4), nn.Linear(4, 3, bias=False)
    with torch.no_grad():
        hidden.weight.zero_()
        hidden.weight[:3] = templates().flatten(1)
        hidden.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -9.0]))
        output.weight.copy_(torch.eye(3, 4))
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), output)


class Edges(nn.Module):
    """A convolution whose first channel sees light left of dark, the second dark above light."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.head = nn.Linear(3, 3)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.zero_()  # type: ignore[union-attr]
            self.conv.weight[0, 0] = torch.tensor([1.0, 0, -1]).expand(3, 3)
            self.conv.weight[1, 0] = torch.tensor([-1.0, 0, 1])[:, None].expand(3, 3)
            self.conv.bias[2] = -1.0  # type: ignore[index]

    def forward(self, images: Tensor) -> Tensor:
        """Logits of pictures."""
        pooled = functional.max_pool2d(functional.relu(self.conv(images)), 2)
        logits: Tensor = self.head(pooled.mean((2, 3)))
        return logits
