"""Small recorded runs: real Parquet shards with losses, evaluations, layers and batch hashes."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from curve_makers import loss_curve
from synthetic import RunBuilder

from telemetry.json_values import Json
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run

LAYERS = ("stem", "body", "head")
N_STEPS = 120
SAMPLED_EVERY = 10


def run_id(index: int) -> str:
    return f"20260102-030405-r{index:05d}"


def builder(
    store: Path,
    index: int,
    *,
    name: str = "base",
    config: Mapping[str, Json] | None = None,
    tags: tuple[str, ...] = (),
) -> RunBuilder:
    config = {"lr": 0.1} if config is None else config
    return RunBuilder(store, run=run_id(index), name=name, config=config, tags=tags)


def trained(  # noqa: PLR0913 - each keyword is one thing that can differ
    store: Path,
    index: int,
    *,
    name: str = "base",
    config: Mapping[str, Json] | None = None,
    shift: float = 0.0,
    seed: int | None = None,
    grad_factor: Mapping[str, float] | None = None,
    tweak: Callable[[int, float], float] | None = None,
    evaluated: bool = True,
) -> Run:
    """A run of 120 steps; `seed` decides weights, batches and noise, `tweak` alters each loss."""
    seed = index if seed is None else seed
    built = builder(store, index, name=name, config=config)
    generator = np.random.default_rng(seed)
    curve = loss_curve(seed, n=N_STEPS, shift=shift)
    hashes = generator.integers(-(2**62), 2**62, N_STEPS)
    for step, value in enumerate(curve.values):
        built.add(
            "steps",
            step=step,
            loss=tweak(step, float(value)) if tweak else float(value),
            lr=0.1,
            batch_hash=int(hashes[step]),
            samples=64,
            flags=1 | (16 if step % SAMPLED_EVERY == 0 else 0),
        )
    if evaluated:
        for offset, metric in ((0.02, "val_loss"), (-2.0, "val_accuracy")):
            sign = 1 if offset > 0 else -0.2
            points = range(11, N_STEPS, 12)
            built.metric(
                metric,
                {s: sign * (float(np.mean(curve.values[s - 11 : s + 1])) + offset) for s in points},
            )
    for depth, layer in enumerate(LAYERS):
        weight = generator.normal(0, 0.1, (8, 8)).astype(np.float32)
        factor = (grad_factor or {}).get(layer, 1.0)
        built.module(layer, depth=depth).parameter(f"{layer}.weight", shape=(8, 8), depth=depth)
        for step in range(0, N_STEPS, SAMPLED_EVERY):
            scale = float(np.exp(generator.normal(0, 0.2)))
            built.tensor(f"{layer}.weight", "weight", step, weight * (1 + step / N_STEPS))
            built.norm(f"{layer}.weight", "gradient", step, factor * scale, n=64)
            built.norm(f"{layer}.weight", "update", step, 0.01 * scale, n=64)
    return load_run(built.write())


def rounded(value: Json) -> Json:
    """The document with six significant digits: what the last bit is depends on the machine."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value
