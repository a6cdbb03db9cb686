"""Trains the network of `train.py` with several learning rates, each a run of its own."""

import itertools
from dataclasses import dataclass

import torch
from train import build, train


@dataclass(frozen=True)
class Config:
    """What is varied: `telemetry record` keeps the fields as the config of each run."""

    lr: float
    seed: int


def main() -> None:
    """Train each configuration."""
    for lr, seed in itertools.product((0.0005, 0.005, 0.05, 0.5), (0, 1)):
        config = Config(lr=lr, seed=seed)
        torch.manual_seed(config.seed)
        train(build(), config.lr)


if __name__ == "__main__":
    main()
