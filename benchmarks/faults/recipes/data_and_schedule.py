"""Faults and controls of the data and of the schedule: batches, precision, rates, waiting."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import itertools
import math
import time
from collections.abc import Callable, Iterator

import torch
from material import (
    Bench,
    ConvNet,
    Data,
    LanguageModel,
    digits,
    evaluation,
    markov,
    mlp,
    train,
)
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    StepLR,
)
from torch.utils.data import DataLoader, Dataset, TensorDataset

Batch = tuple[Tensor, Tensor]


def _loader(bench: Bench, data: Data, size: int, *, shuffle: bool = True) -> "DataLoader[Batch]":
    dataset = TensorDataset(data.x, data.y)
    return DataLoader(dataset, size, shuffle=shuffle, generator=bench.generator())


def _epochs(loader: "DataLoader[Batch]", steps: int) -> Iterator[Batch]:
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    for batch in itertools.islice(endless, steps):
        yield tuple(batch)


def _classifier(
    bench: Bench, batches: Iterator[Batch], data: Data, *, lr: float = 1e-3, images: bool = False
) -> None:
    model = ConvNet() if images else mlp((64, 64, 64, 10))
    train(
        bench,
        model,
        Adam(model.parameters(), lr),
        batches,
        evaluate=evaluation(model, data),
        every=30,
    )
    bench.score(model, data)


# --- repeated batches ---------------------------------------------------------------------------


@fault("F39", "repeated_batch", by=60)
def iterator_in_every_step(bench: Bench) -> None:
    data = digits()
    loader = _loader(bench, data, 64, shuffle=False)
    again = (tuple(next(iter(loader))) for _ in range(300))
    _classifier(bench, bench.fault(again, without=_epochs(loader, 300)), data)


@fault("F40", "repeated_batch", by=60)
def constant_index(bench: Bench) -> None:
    tokens = markov(bench.seed, 30, 20_000)
    model = LanguageModel(30)
    n_batches = bench.fault(1, without=18)
    rows = torch.stack([tokens[64 * k : 64 * k + 33] for k in range(16 * n_batches)])
    held = torch.stack([tokens[-33 * (k + 1) :][:33] for k in range(32)])

    def loss_of(out: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(out.flatten(0, 1), y.flatten())

    def evaluate() -> dict[str, float]:
        with torch.no_grad():
            return {"val_loss": float(loss_of(model(held[:, :-1]), held[:, 1:]))}

    cycle = (rows[16 * (step % n_batches) :][:16] for step in range(250))
    batches = ((picked[:, :-1], picked[:, 1:]) for picked in cycle)
    optimizer = Adam(model.parameters(), 1e-3)
    train(bench, model, optimizer, batches, loss_of=loss_of, evaluate=evaluate, every=25)
    bench.result |= evaluate()


@healthy("D01")
def three_batches_unshuffled(bench: Bench) -> None:
    data = digits()
    few = Data(x=data.x[:192], y=data.y[:192], val_x=data.val_x, val_y=data.val_y)
    _classifier(bench, _epochs(_loader(bench, few, 64, shuffle=False), 90), data)


@healthy("D02")
def full_batch_validated(bench: Bench) -> None:
    """All data in each step, without a loader."""
    data = digits()
    _classifier(bench, ((data.x, data.y) for _ in range(150)), data)


@healthy("D03")
def nodes_of_a_graph(bench: Bench) -> None:
    """The loader gives the numbers of nodes, the model is given the whole graph."""
    data = digits()
    everything = data.x
    model = mlp((64, 64, 10))
    loader = DataLoader(TensorDataset(torch.arange(1400)), 50, shuffle=True)
    optimizer = Adam(model.parameters(), 1e-3)
    with bench.record(model, optimizer) as telemetry:
        for (picked,) in _epochs(loader, 200):
            loss = functional.cross_entropy(model(everything)[picked], data.y[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    bench.score(model, data)


@healthy("D04")
def sparse_inputs(bench: Bench) -> None:
    """Bags of words over 5,000: nearly all elements that a fingerprint reads are zero."""
    generator = bench.generator()
    centres = torch.randint(5000, (10, 40), generator=generator)
    y = torch.randint(10, (800,), generator=generator)
    words = centres[y].gather(1, torch.randint(40, (800, 6), generator=generator))
    x = torch.zeros(800, 5000).scatter(1, words, 1.0)
    loader = DataLoader(TensorDataset(x, y), 8, shuffle=True, generator=generator)
    model = nn.Sequential(nn.Linear(5000, 32), nn.ReLU(), nn.Linear(32, 10))
    train(bench, model, Adam(model.parameters(), 1e-3), _epochs(loader, 300))


# --- low precision ------------------------------------------------------------------------------


def _in_bfloat16(
    bench: Bench,
    optimizer_of: Callable[[nn.Module], Optimizer],
    *,
    steps: int = 300,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    model = mlp((64, 64, 64, 10)).to(dtype)
    data = digits()
    train(
        bench,
        model,
        optimizer_of(model),
        ((x.to(dtype), y) for x, y in data.batches(bench.generator(), 64, steps)),
        loss_of=lambda out, y: functional.cross_entropy(out.float(), y),
    )
    with torch.no_grad():
        right = model(data.val_x.to(dtype)).argmax(-1) == data.val_y
    bench.result["accuracy"] = float(right.float().mean())
    bench.result["constant"] = data.constant


@fault("F30", "low_precision_updates", by=100)
def bfloat16_weights(bench: Bench) -> None:
    dtype = bench.fault(torch.bfloat16, without=torch.float32)
    _in_bfloat16(bench, lambda m: Adam(m.parameters(), 3e-5), steps=600, dtype=dtype)


@fault("F30b", "low_precision_updates", by=100)
def bfloat16_momentum(bench: Bench) -> None:
    """Accuracy 0.32 where float32 reaches 0.79."""
    dtype = bench.fault(torch.bfloat16, without=torch.float32)
    _in_bfloat16(bench, lambda m: SGD(m.parameters(), 1e-3, momentum=0.9), steps=600, dtype=dtype)


@fault("F31", "low_precision_updates", by=100)
def bfloat16_language_model(bench: Bench) -> None:
    tokens = markov(bench.seed, 30, 20_000)
    model = LanguageModel(30).to(bench.fault(torch.bfloat16, without=torch.float32))
    generator = bench.generator()

    def batches() -> Iterator[Batch]:
        for _ in range(200):
            starts = torch.randint(len(tokens) - 33, (16,), generator=generator)
            rows = torch.stack([tokens[s : s + 33] for s in starts])
            yield rows[:, :-1], rows[:, 1:]

    train(
        bench,
        model,
        AdamW(model.parameters(), 3e-5),
        batches(),
        loss_of=lambda out, y: functional.cross_entropy(out.flatten(0, 1).float(), y.flatten()),
    )


@healthy("D05")
def bfloat16_fast(bench: Bench) -> None:
    """Weights in bfloat16, a rate at which nothing is lost while it matters."""
    _in_bfloat16(bench, lambda m: Adam(m.parameters(), 3e-3))


@healthy("D06")
def bfloat16_momentum_fast(bench: Bench) -> None:
    _in_bfloat16(bench, lambda m: SGD(m.parameters(), 0.05, momentum=0.9), steps=600)


@healthy("D07")
def bfloat16_tuned(bench: Bench) -> None:
    """Fine-tuning in bfloat16 at a small rate of what float32 has learned."""
    model, data = mlp((64, 64, 64, 10)), digits()
    optimizer = Adam(model.parameters(), 1e-3)
    for x, y in data.batches(bench.generator(), 64, 40):
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.to(torch.bfloat16)
    train(
        bench,
        model,
        AdamW(model.parameters(), 1e-4),
        ((x.to(torch.bfloat16), y) for x, y in data.batches(bench.generator(), 64, 300)),
        loss_of=lambda out, y: functional.cross_entropy(out.float(), y),
    )


# --- schedules ----------------------------------------------------------------------------------


def _scheduled(
    bench: Bench,
    make: Callable[[Optimizer], LRScheduler],
    *,
    steps: int = 300,
    lr: float = 0.05,
    momentum: float = 0.9,
) -> None:
    data = digits()
    model = mlp((64, 64, 64, 10))
    optimizer = SGD(model.parameters(), lr, momentum=momentum)
    batches = _epochs(_loader(bench, data, 64), steps)
    train(bench, model, optimizer, batches, scheduler=make(optimizer))
    bench.score(model, data)


@fault("F51", "schedule", by=100)
def cosine_of_epochs(bench: Bench) -> None:
    """The rate is zero after 5 % of the steps and stays there."""
    last = bench.fault(15, without=300)
    _scheduled(
        bench,
        lambda o: LambdaLR(o, lambda n: (1 + math.cos(math.pi * min(1.0, n / last))) / 2),
        momentum=0.0,
    )


@fault("F52", "schedule", by=60)
def divided_in_every_batch(bench: Bench) -> None:
    _scheduled(bench, lambda o: StepLR(o, 1, gamma=bench.fault(0.1, without=1.0)))


@fault("F53", "schedule", "learning_rate_too_high", by=240)
def rate_jumps(bench: Bench) -> None:
    factor = bench.fault(300.0, without=1.0)
    _scheduled(bench, lambda o: LambdaLR(o, lambda n: factor if n >= 200 else 1.0))


@healthy("D08")
def restarts_in_a_loader(bench: Bench) -> None:
    _scheduled(bench, lambda o: CosineAnnealingWarmRestarts(o, 75))


@healthy("D09")
def one_cycle(bench: Bench) -> None:
    _scheduled(bench, lambda o: OneCycleLR(o, 0.1, total_steps=301))


@healthy("D10")
def exponential(bench: Bench) -> None:
    """To 1e-5 of the first rate at the end."""
    _scheduled(bench, lambda o: ExponentialLR(o, 0.962))


@healthy("D11")
def stairs_upwards(bench: Bench) -> None:
    """A warm-up by factors of ten, then constant."""
    _scheduled(bench, lambda o: LambdaLR(o, lambda n: min(1.0, 10.0 ** (n // 40 - 2))))


@healthy("D12")
def cyclic(bench: Bench) -> None:
    _scheduled(bench, lambda o: CyclicLR(o, 1e-4, 0.05, step_size_up=20))


# --- waiting for data ---------------------------------------------------------------------------


@fault("F58", "input_stall", by=60, measure="seconds")
def slow_loader(bench: Bench) -> None:
    """20 ms a batch; the harm is the time."""
    data = digits()

    def collate(samples: list[Batch]) -> Batch:
        time.sleep(bench.fault(0.02, without=0.0))
        return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])

    dataset = TensorDataset(data.x, data.y)
    loader = DataLoader(dataset, 64, generator=bench.generator(), shuffle=True, collate_fn=collate)
    _classifier(bench, _epochs(loader, 120), data)


@healthy("D13")
def in_memory(bench: Bench) -> None:
    data = digits()
    _classifier(bench, _epochs(_loader(bench, data, 64), 300), data)


@healthy("D14")
def images_of_a_loader(bench: Bench) -> None:
    """Small images, one at a time with noise added: the loader takes as long as the network."""
    data = digits(images=True)

    class Noisy(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(data.x)

        def __getitem__(self, index: int) -> Batch:
            return data.x[index] + 0.1 * torch.randn(1, 8, 8), data.y[index]

    loader = DataLoader(Noisy(), 64, shuffle=True, generator=bench.generator())
    _classifier(bench, _epochs(loader, 200), data, images=True)
