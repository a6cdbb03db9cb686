"""Which step is which where two optimizers share a model, as those of a GAN do."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from loops import records
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from telemetry import TelemetryCallback

CRITIC_RATE, GENERATOR_RATE = 0.002, 0.001
N = 6  # iterations


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


class Gan:
    """A generator and a critic with an optimizer each."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator, self.critic = nn.Linear(2, 3), nn.Linear(3, 1)
        self.model = nn.ModuleDict({"generator": self.generator, "critic": self.critic})
        self._critic = torch.optim.Adam(self.critic.parameters(), lr=CRITIC_RATE)
        self._generator = torch.optim.Adam(self.generator.parameters(), lr=GENERATOR_RATE)

    @property
    def optimizers(self) -> list[Optimizer]:
        return [self._generator, self._critic]

    def train_critic(self, real: Tensor | None = None) -> Tensor:
        real = torch.ones(4, 3) if real is None else real
        self._critic.zero_grad()
        fake = self.generator(torch.ones(4, 2)).detach()
        loss: Tensor = self.critic(fake).mean() - self.critic(real).mean()
        loss.backward()
        self._critic.step()
        return loss

    def train_generator(self) -> Tensor:
        self._generator.zero_grad()
        loss: Tensor = 100 - self.critic(self.generator(torch.ones(4, 2))).mean()
        loss.backward()
        self._generator.step()
        return loss


Loop: TypeAlias = Callable[[Gan, TelemetryCallback], None]


def once_per_iteration(gan: Gan, telemetry: TelemetryCallback, *, n_critic: int = 1) -> None:
    for iteration in range(N):
        for _ in range(n_critic):
            gan.train_critic()
        telemetry.step(loss=gan.train_generator(), iteration=iteration)


def five_times(gan: Gan, telemetry: TelemetryCallback) -> None:
    once_per_iteration(gan, telemetry, n_critic=5)


def after_each(gan: Gan, telemetry: TelemetryCallback) -> None:
    for iteration in range(N):
        telemetry.step(loss=gan.train_critic(), iteration=2 * iteration)
        telemetry.step(loss=gan.train_generator(), iteration=2 * iteration + 1)


def in_turns(gan: Gan, telemetry: TelemetryCallback) -> None:
    for iteration in range(2 * N):
        loss = gan.train_generator() if iteration % 2 else gan.train_critic()
        telemetry.step(loss=loss, iteration=iteration)


def without_calls(gan: Gan, telemetry: TelemetryCallback) -> None:
    for iteration in range(N):
        gan.train_critic()
        gan.train_generator()
        telemetry.log(iteration=iteration)


def every_fifth_without_calls(gan: Gan, telemetry: TelemetryCallback) -> None:
    for iteration in range(5 * N):
        gan.train_critic()
        if iteration % 5 == 0:
            gan.train_generator()
        telemetry.log(iteration=iteration)


def batches(n: int) -> Iterator[Tensor]:
    for (batch,) in DataLoader(TensorDataset(torch.randn(n * 4, 3)), batch_size=4):
        yield batch


@pytest.mark.parametrize("reverse", [False, True], ids=["generator first", "critic first"])
@pytest.mark.parametrize(
    ("loop", "n_steps", "trained"),
    [
        (once_per_iteration, N, ["cg"] * N),
        (five_times, N, ["cg"] * N),
        (after_each, 2 * N, ["c", "g"] * N),
        (in_turns, 2 * N, ["c", "g"] * N),
        (without_calls, N, ["cg"] * N),
        (every_fifth_without_calls, 5 * N, ["cg", "c", "c", "c", "c"] * N),
    ],
)
def test_steps_are_counted_alike_whichever_optimizer_is_first_in_the_list(
    loop: Loop,
    n_steps: int,
    trained: list[str],
    reverse: bool,  # noqa: FBT001 - a parameter
    tmp_path: Path,
) -> None:
    gan = Gan()
    optimizers = gan.optimizers[::-1] if reverse else gan.optimizers
    with TelemetryCallback(
        gan.model, optimizers, store=tmp_path, every=1, overhead_budget=None, strict=True
    ) as telemetry:
        loop(gan, telemetry)
        assert telemetry.path is not None
    steps = [row["step"] for row in records(telemetry.path, "steps")]
    assert steps == list(range(n_steps))
    # Metrics and what was read of the parameters have the numbers of the steps.
    logged = [row for row in records(telemetry.path, "metrics") if row["name"] == "iteration"]
    assert {(row["step"], row["value"]) for row in logged} == {(s, float(s)) for s in steps}
    names = {row["param_id"]: str(row["name"]) for row in records(telemetry.path, "tensors")}
    found: dict[object, set[str]] = defaultdict(set)
    for row in records(telemetry.path, "tensor_stats"):
        if row["kind"] == "update":
            found[row["step"]].add(names[row["param_id"]][0])
    assert ["".join(sorted(found[step])) for step in steps] == trained


def test_optimizers_that_each_read_a_batch_of_their_own_make_a_step_each(tmp_path: Path) -> None:
    model = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.01) for part in model]
    with TelemetryCallback(model, optimizers, store=tmp_path, strict=True) as telemetry:
        for number, batch in enumerate(batches(2 * N)):
            optimizers[number % 2].zero_grad()
            model[number % 2](batch).mean().backward()
            optimizers[number % 2].step()
        assert telemetry.path is not None
    rows = records(telemetry.path, "steps")
    assert [(row["step"], row["backward_calls"], row["samples"]) for row in rows] == [
        (step, 1, 4) for step in range(2 * N)
    ]
