"""Synthetic runs of a chain of linear layers, and what the diagnosis says of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from synthetic import RunBuilder

from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Diagnosis, Finding, NotChecked
from telemetry.diagnose.policy import Policy
from telemetry.format.manifest import Status
from telemetry.store.store import Store

WIDTH = 64

Chains = "Callable[..., Chain]"


class Chain(RunBuilder):
    """A run of linear layers `l0`, `l1`, ... of 64 units, each followed by an activation `a<k>`."""

    n_layers: int = 0

    def layers(self, n: int, *, activation: str = "ReLU") -> "Chain":
        self.n_layers = n
        self.module("", type_="Net", role="other", depth=0)
        for index in range(n):
            self.module(f"l{index}", depth=2 * index + 1)
            self.module(f"a{index}", type_=activation, depth=2 * index + 2, role="activation")
            self.parameter(f"l{index}.weight", shape=(WIDTH, WIDTH), depth=2 * index + 1)
        return self

    def gradients(self, step: int, norms: Sequence[float], *, factor: float = 1.0) -> "Chain":
        """Gradient norms of the layers from the input to the head, with weights and updates."""
        for index, norm in enumerate(norms):
            name = f"l{index}.weight"
            self.norm(name, "gradient", step, factor * norm, n=WIDTH**2)
            self.norm(name, "weight", step, 5.0 + 0.01 * step, n=WIDTH**2)
            self.norm(name, "update", step, 0.01, n=WIDTH**2)
        return self

    def logits(self, step: int, *, classes: int = 10, absmax: float = 0.5) -> "Chain":
        """Inputs of a cross-entropy over balanced labels."""
        counts = np.full(classes, 6.4, dtype=np.float32)
        common = {"loss_op": "cross_entropy", "n_units": classes, "n_profile": classes}
        self.activation(
            "", "logits", step, n=64 * classes, sumsq=1.0, min=-absmax, max=absmax, absmax=absmax,
            profile=counts.tobytes(), **common,
        )  # fmt: skip
        self.activation("", "target", step, n=64, sumsq=None, profile=counts.tobytes(), **common)
        return self


def stalled(level: float, n: int, *, noise: float = 0.02, seed: int = 0) -> list[float]:
    """A loss that stays at a level."""
    return list(level * (1 + noise * np.random.default_rng(seed).standard_normal(n)))


def geometric(n: int, bits: float) -> list[float]:
    """Norms that fall by so many bits a layer toward the input."""
    return [2.0 ** (-bits * (n - 1 - index)) for index in range(n)]


def learning(n: int, *, start: float = 2.3, end: float = 0.1, seed: int = 0) -> list[float]:
    """A loss that falls exponentially."""
    curve = end + (start - end) * np.exp(-5 * np.arange(n) / n)
    return list(curve * (1 + 0.03 * np.random.default_rng(seed).standard_normal(n)))


def diagnosed(
    run: RunBuilder,
    *,
    detectors: Sequence[str] | None = None,
    since: int | None = None,
    limits: Mapping[str, Mapping[str, float]] | None = None,
    disabled: Sequence[str] = (),
    status: Status = Status.FINISHED,
) -> Diagnosis:
    """Write the run and judge it."""
    run.write(status=status)
    store = Store.open(run.store)
    policy = Policy(limits=limits or {}, disabled=dict.fromkeys(disabled, "a test"))
    return diagnose_run(
        store, store.select(run.run), detectors=detectors, since=since, policy=policy
    )


def found(diagnosis: Diagnosis, detector: str) -> Finding:
    """The finding of a detector that must have found something."""
    (finding,) = (f for f in diagnosis.findings if f.detector == detector)
    return finding


def asked(run: RunBuilder, detector: str) -> Finding:
    """What a rule tells where it is asked for by name."""
    return found(diagnosed(run, detectors=[detector]), detector)


def not_checked(diagnosis: Diagnosis, detector: str) -> NotChecked:
    """The reason of a detector that must not have judged."""
    (entry,) = (n for n in diagnosis.not_checked if n.detector == detector)
    return entry
