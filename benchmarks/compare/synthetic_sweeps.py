"""Thirty sweeps whose truth is known: six ways in which parameters act, five ways of searching.

A metric is made of the effects below and normal noise of deviation 0.3. `unused` and `dropout` are
drawn and do nothing. Each sweep also has a region in which runs fail, and three in a hundred fail
elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt

from telemetry.json_values import Json

Config = dict[str, Json]
Generator = np.random.Generator

NOISE = 0.3
STRAY_FAILURES = 0.03
RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
ACTIVATIONS = ("gelu", "relu", "tanh")
N_FIRST = 12  # random runs before an adaptive search follows the best


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the metric is made of, what must be found, where runs fail."""

    metric: Callable[[Config], float]
    decides: str
    acting: tuple[str, ...]
    fails: Callable[[Config], bool]
    rule: tuple[str, ...]
    diverges: bool = False
    pair: frozenset[str] = field(default_factory=frozenset)


def rate(config: Config) -> float:
    """The learning rate on a log scale, -1 to 1."""
    return float(np.log10(float(str(config["lr"])))) / 2 + 1


def momentum(config: Config) -> float:
    """Its value, 0 where it is not set."""
    return float(str(config.get("momentum", 0.0)))


TRUTHS: dict[str, Truth] = {
    "trend": Truth(
        metric=lambda c: 1.2 * rate(c) + 0.25 * (np.log2(float(str(c["width"]))) - 6.5),
        decides="lr",
        acting=("lr", "width"),
        fails=lambda c: rate(c) >= 0.5,
        rule=("lr >=",),
        diverges=True,
    ),
    "optimum": Truth(
        metric=lambda c: 2.2 * rate(c) ** 2 + 0.3 * (c["act"] == "relu"),
        decides="lr",
        acting=("lr", "act"),
        fails=lambda c: c["width"] == 32,
        rule=("width <=",),
    ),
    "category": Truth(
        metric=lambda c: 1.2 * (c["act"] == "relu") + 0.4 * rate(c),
        decides="act",
        acting=("act", "lr"),
        fails=lambda c: c["act"] == "relu" and rate(c) >= 0,
        rule=("act = relu", "lr >="),
    ),
    "switch": Truth(
        metric=lambda c: 1.2 * (c["optimizer"] == "sgd") + 0.6 * rate(c) ** 2,
        decides="optimizer",
        acting=("optimizer", "lr"),
        fails=lambda c: c["optimizer"] == "sgd",
        rule=("optimizer = sgd",),
    ),
    "conditional": Truth(
        metric=lambda c: 3.0 * (momentum(c) - 0.5) * (c["optimizer"] == "sgd"),
        decides="momentum",
        acting=("momentum", "optimizer"),
        fails=lambda c: rate(c) <= -0.5,
        rule=("lr <=",),
    ),
    "together": Truth(
        metric=lambda c: 1.5 * rate(c) + 2 * (c["act"] == "relu" and c["optimizer"] == "sgd"),
        decides="lr",
        acting=("lr", "act", "optimizer"),
        fails=lambda c: c["act"] == "tanh",
        rule=("act = tanh",),
        pair=frozenset({"act", "optimizer"}),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSweep:
    """Configurations, their metric (NaN where a run diverged) and which runs failed."""

    truth: Truth
    configs: list[Config]
    values: npt.NDArray[np.float64]
    failed: npt.NDArray[np.bool_]


def drawn(generator: Generator) -> Config:
    """A random configuration; momentum is set for sgd only."""
    config: Config = {
        "lr": float(10 ** generator.uniform(-4, 0)),
        "width": int(generator.choice([32, 64, 128, 256])),
        "act": str(generator.choice(ACTIVATIONS)),
        "optimizer": str(generator.choice(["sgd", "adam"])),
        "dropout": float(generator.uniform(0, 0.5)),
        "unused": int(generator.choice([10, 20, 50])),
    }
    return _with_momentum(config, generator)


def _with_momentum(config: Config, generator: Generator) -> Config:
    config.pop("momentum", None)
    if config["optimizer"] == "sgd":
        config["momentum"] = float(generator.uniform(0, 1))
    return config


def random_search(n: int) -> Callable[[Generator, Truth], list[Config]]:
    """Independent configurations."""
    return lambda generator, _: [drawn(generator) for _ in range(n)]


def grid_search(generator: Generator, _: Truth) -> list[Config]:
    """Five learning rates by three activations by two optimizers; the others at random."""
    cells = product(RATES, ACTIVATIONS, ("sgd", "adam"))
    return [
        _with_momentum(
            {**drawn(generator), "lr": lr, "act": act, "optimizer": optimizer}, generator
        )
        for lr, act, optimizer in cells
    ]


def repeated_search(generator: Generator, _: Truth) -> list[Config]:
    """Twenty configurations with three seeds each."""
    return [
        {**config, "seed": seed}
        for config in (drawn(generator) for _ in range(20))
        for seed in range(3)
    ]


def adaptive_search(generator: Generator, truth: Truth) -> list[Config]:
    """After twelve random runs each next one changes about half of one of the best quarter.

    What a Bayesian search leaves behind: dense where it is good, sparse elsewhere.
    """
    configs = [drawn(generator) for _ in range(N_FIRST)]
    seen = [truth.metric(config) + generator.normal(0, NOISE) for config in configs]
    while len(configs) < 40:
        best = np.argsort(seen)[: max(3, len(seen) // 4)]
        parent, other = configs[int(generator.choice(best))], drawn(generator)
        kept = {name: parent[name] for name in other if name in parent and generator.random() < 0.5}
        child = {**other, **kept}
        if child["optimizer"] != "sgd" or "momentum" not in child:
            child = _with_momentum(child, generator)
        configs.append(child)
        seen.append(truth.metric(child) + generator.normal(0, NOISE))
    return configs


SEARCHES: dict[str, Callable[[Generator, Truth], list[Config]]] = {
    "grid of 30": grid_search,
    "random 24": random_search(24),
    "random 48": random_search(48),
    "adaptive 40": adaptive_search,
    "20 x 3 seeds": repeated_search,
}


def made(kind: str, search: str, seed: int) -> SyntheticSweep:
    """One sweep; the same seed gives the same one."""
    place = [sorted(TRUTHS).index(kind), sorted(SEARCHES).index(search)]
    generator = np.random.default_rng([20260102, seed, *place])
    truth = TRUTHS[kind]
    configs = SEARCHES[search](generator, truth)
    values = np.array([truth.metric(c) for c in configs]) + generator.normal(0, NOISE, len(configs))
    in_region = np.array([truth.fails(c) for c in configs])
    failed = in_region | (generator.random(len(configs)) < STRAY_FAILURES)
    values = np.where(failed & truth.diverges, np.nan, values)
    return SyntheticSweep(truth=truth, configs=configs, values=values, failed=failed)
