"""Curves as training gives them: exponential progress, correlated noise, an offset by seed."""

import numpy as np

from telemetry.compare.curves.align import Series


def loss_curve(
    seed: int,
    *,
    n: int = 300,
    seed_noise: float = 0.02,
    step_noise: float = 0.05,
    shift: float = 0.0,
    floor: float = 0.5,
    every: int = 1,
) -> Series:
    """A loss from 2.5 down to `floor`, AR(1) noise of memory 0.7, a seed's own offset."""
    generator = np.random.default_rng(seed)
    steps = np.arange(every - 1, n, every, dtype=np.int64)
    noise = np.zeros(n)
    shocks = generator.normal(0, step_noise * np.sqrt(1 - 0.7**2), n)
    for i in range(1, n):
        noise[i] = 0.7 * noise[i - 1] + shocks[i]
    trend = floor + (2.5 - floor) * np.exp(-np.arange(n) / (n / 6))
    values = trend + shift + generator.normal(0, seed_noise) + noise
    return Series(steps=steps, values=values[steps])
