"""A store of a few runs as real trainings leave them: healthy, failed, killed, empty, hostile."""

from datetime import timedelta
from pathlib import Path

import numpy as np
from synthetic import START, RunBuilder

from telemetry.format.manifest import Status

LAYERS = {"net.0": (64, 32), "net.2": (32, 32), "net.4": (32, 10)}
N_STEPS = 200
SAMPLED_EVERY = 20
HOSTILE_NAME = "\x1b[31mred\x1b[0m\n[bold]name"


def build_store(store: Path) -> Path:
    """Six runs in two projects; the later in the list, the later started."""
    trained(store, "base", hours=0, tags=("main",), scale=1.0).write()
    trained(store, "wide", hours=1, tags=("pr-12",), scale=1.3, seed=1).write()
    broken(store, hours=2).write(
        status=Status.FAILED, error={"type": "ValueError", "message": "loss is nan"}
    )
    trained(store, "interrupted", hours=3, seed=3, n_steps=60).write(status=Status.RUNNING)
    run(store, "nothing", hours=4).write()
    run(store, HOSTILE_NAME, hours=5, project="weird/../project", tags=("\x1b]0;x\x07",)).write()
    return store


def run(
    store: Path,
    name: str,
    *,
    hours: int,
    project: str = "demo",
    tags: tuple[str, ...] = (),
) -> RunBuilder:
    started = START + timedelta(hours=hours)
    builder = RunBuilder(
        store=store,
        run=f"{started:%Y%m%d-%H%M%S}-{'abcdef'[hours] * 6}",
        project=project,
        name=name,
        tags=tags,
        started=started,
    )
    builder.path.mkdir(parents=True)
    return builder


def trained(
    store: Path,
    name: str,
    *,
    hours: int,
    tags: tuple[str, ...] = (),
    scale: float = 1.0,
    seed: int = 0,
    n_steps: int = N_STEPS,
) -> RunBuilder:
    """A small network that learns; `scale` raises its losses and gradients."""
    builder = run(store, name, hours=hours, tags=tags)
    builder.config = {"lr": 0.1, "width": 32, "seed": seed, "optimizer.name": "SGD"}
    builder.total_steps = n_steps
    noise = np.random.default_rng(seed)
    steps = np.arange(n_steps)
    losses = scale * (0.2 + 2.1 * np.exp(-steps / 40) + noise.normal(0, 0.02, n_steps))
    norms = scale * (0.4 + np.exp(-steps / 30))
    builder.losses(losses.tolist(), every=SAMPLED_EVERY, overhead_s=2e-5, data_s=1e-3)
    for step, row in enumerate(builder.rows["steps"]):
        if step % SAMPLED_EVERY == 0:
            row["grad_norm_total"] = float(norms[step])
    samples = range(0, n_steps, SAMPLED_EVERY)
    builder.metric("val_loss", {step: scale * (0.3 + 2 * np.exp(-step / 40)) for step in samples})
    builder.metric("val_accuracy", {step: 0.95 - 0.8 * np.exp(-step / 40) for step in samples})
    describe(builder)
    for step in samples:
        add_sample(builder, step, norms[step], noise)
    return builder


def broken(store: Path, *, hours: int) -> RunBuilder:
    """The same network until step 60, then losses and gradients that are not finite."""
    builder = trained(store, "broken", hours=hours, seed=2, n_steps=70)
    for step, row in enumerate(builder.rows["steps"]):
        if step >= 60:
            row["loss"] = float("inf") if step < 62 else float("nan")
    builder.event(
        "non_finite", step=60, severity="error", message="the loss became infinite at step 60"
    )
    return builder


def describe(builder: RunBuilder) -> None:
    """Catalogue rows and the events of attaching."""
    builder.module("", type_="Sequential", depth=0, role="other")
    for depth, (layer, shape) in enumerate(LAYERS.items(), start=1):
        builder.module(layer, depth=depth)
        builder.parameter(f"{layer}.weight", shape=(shape[1], shape[0]), depth=depth)
        builder.parameter(f"{layer}.bias", shape=(shape[1],), depth=depth)
    n_parameters = sum(a * b + b for a, b in LAYERS.values())
    builder.event(
        "attach",
        message=f"Sequential with 6 tensors, {n_parameters} parameters",
        model="Sequential",
        modules=6,
        tensors=6,
        parameters=n_parameters,
        trainable_parameters=n_parameters,
        devices=["cpu"],
        dtypes=["float32"],
    )
    payload = {"index": 0, "class": "SGD", "groups": [{"tensors": 6, "lr": 0.1, "momentum": 0.9}]}
    builder.event("optimizer", message="SGD with 1 parameter group(s)", **payload)


def add_sample(builder: RunBuilder, step: int, norm: float, noise: np.random.Generator) -> None:
    """Rows of one sampled step: tensors of every layer, activations with a growing dead set."""
    for index, (layer, shape) in enumerate(LAYERS.items()):
        share = norm / (index + 1)
        for name, size in (("weight", (shape[1], shape[0])), ("bias", (shape[1],))):
            values = noise.normal(0, 1, size).astype(np.float32)
            gradient = values * share / float(np.linalg.norm(values))
            weight = noise.normal(0, 0.1, size).astype(np.float32)
            builder.tensor(f"{layer}.{name}", "gradient", step, gradient)
            builder.tensor(f"{layer}.{name}", "weight", step, weight)
            builder.tensor(f"{layer}.{name}", "update", step, -0.1 * gradient)
        builder.activation(
            layer, "relu#0", step, n_units=shape[1], n_dead=min(index * step // 40, shape[1])
        )
