"""A fourth set: optimizers that people wrote, schedules, averages, and what is kept."""

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from published.case import Reached, Trial, case
from published.material import accuracy, batches, digits, unexplained


class _Momentum(Optimizer):
    """As the source has it: the velocity is what a weight moves by."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float, *, first: str) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "first": first})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move each weight."""
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                state, move = self.state[parameter], -group["lr"] * parameter.grad
                if "v" not in state:
                    state["v"] = move if group["first"] == "scaled" else -parameter.grad
                else:
                    state["v"] = group["momentum"] * state["v"] + move
                parameter.add_(state["v"])


@case(
    "matrix-slow-17",
    source="https://github.com/zc911/MatrixSlow/pull/17",
    wrong="the velocity starts as the gradient, not times the rate: the first epochs are bad",
    mended="times the rate from the first step on",
    ported="digits from 0 to 255 over 32, SGD .01 with momentum .9, one epoch of 20 at a time",
)
def velocity_without_the_rate(trial: Trial) -> Reached:
    """A first step of a hundred steps."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU())
    model.append(nn.Linear(24, 10))
    optimizer = _Momentum(
        model.parameters(), lr=0.01, momentum=0.9, first=trial.pick("bare", fixed="scaled")
    )
    telemetry = trial.record(model, optimizer)
    for _ in range(3):
        for x, y in batches(8 * data.x, data.y, 20, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, 8 * data.val_x, data.val_y))


class _StableDecay(Optimizer):
    """Adam with a decay over the mean size of steps, and a schedule of its own."""

    def __init__(
        self, params: Iterable[Tensor], lr: float, *, decay: float, steps: int, scheduled: bool
    ) -> None:
        super().__init__(params, {"lr": lr, "decay": decay})
        self.n_steps, self.steps, self.scheduled = 0, steps, scheduled

    def rate(self, lr: float) -> float:
        """Warm-up over a fifth of the run, and warm-down over the last two fifths."""
        done = self.n_steps / self.steps
        return lr * min(1.0, done / 0.2, max(0.03, (1 - done) / 0.4))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move each weight, and then pull all to zero."""
        del closure
        self.n_steps += 1
        for group in self.param_groups:
            lr, total, count = self.rate(group["lr"]), 0.0, 0
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                    state["square"] = torch.zeros_like(parameter)
                state["mean"].lerp_(parameter.grad, 0.1)
                state["square"].lerp_(parameter.grad.square(), 0.001)
                total += float(state["square"].sum()) / (1 - 0.999**self.n_steps)
                count += parameter.numel()
            spread = math.sqrt(total / count) + 1e-8
            for parameter in group["params"]:
                state = self.state[parameter]
                mean = state["mean"] / (1 - 0.9**self.n_steps)
                square = state["square"] / (1 - 0.999**self.n_steps)
                pull = lr if self.scheduled else group["lr"]
                parameter.mul_(1 - min(1.0, pull * group["decay"] / spread))
                parameter.addcdiv_(mean, square.sqrt() + 1e-8, value=-lr)


@case(
    "pytorch-optimizer-169",
    source="https://github.com/kozistr/pytorch_optimizer/issues/169",
    wrong="Ranger21 decays weights by group['lr'] and not by its scheduled rate: the loss spikes "
    "and never converges",
    mended="by the scheduled rate lr",
    ported="its stable decay over Adam, with warm-up and warm-down; digits, decay .006",
)
def decay_has_no_schedule(trial: Trial) -> Reached:
    """What steps are too small to mend."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    n_epochs = 10
    steps = n_epochs * -(-len(data.x) // 32)
    optimizer = _StableDecay(
        model.parameters(), lr=2e-3, decay=0.006, steps=steps, scheduled=trial.fixed
    )
    telemetry = trial.record(model, optimizer)
    for _ in range(n_epochs):
        model.train()
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            telemetry.log(val_loss=functional.cross_entropy(model(data.val_x), data.val_y))
    with torch.no_grad():
        return Reached(error=float(functional.cross_entropy(model(data.val_x), data.val_y)))


@case(
    "imagen-71",
    source="https://github.com/lucidrains/imagen-pytorch/issues/71",
    wrong="T_max of the cosine is the number of warm-up steps: the rate goes up and down",
    mended="the number of steps of the decay",
    ported="denoising of digits, Adam .03; 40 steps of warm-up, 480 of decay",
)
def cosine_of_the_warmup(trial: Trial) -> Reached:
    """A new peak every eighty steps."""
    data = digits()
    warmup, decay = 40, 480
    model = nn.Sequential(nn.Linear(64, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU())
    model.append(nn.Linear(96, 64))
    optimizer = Adam(model.parameters(), lr=3e-2)
    up = LinearLR(optimizer, 0.02, total_iters=warmup)
    cosine = CosineAnnealingLR(optimizer, T_max=trial.pick(warmup, fixed=decay))
    telemetry = trial.record(model, optimizer)
    step = 0
    while step < warmup + decay:
        for x, _y in batches(data.x, data.y, 35, trial.generator):
            noisy = x + 0.4 * torch.randn(x.shape, generator=trial.generator)
            loss = functional.mse_loss(model(noisy), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step < warmup:
                up.step()
            else:
                cosine.step()
            telemetry.step(loss=loss)
            step += 1
    with torch.no_grad():
        noisy = data.val_x + 0.4 * torch.randn(data.val_x.shape, generator=trial.generator)
        return Reached(error=unexplained(model(noisy), data.val_x))


@case(
    "diffusers-1864",
    source="https://github.com/huggingface/diffusers/issues/1864",
    wrong="self.decay = ... in the step of the average overwrites the decay: it ends at one half",
    mended="decay = ...",
    ported="a line of ten inputs with noisy targets, batches of 4, SGD; the average is evaluated",
)
def average_of_two_steps(trial: Trial) -> Reached:
    """An average that forgets at once."""
    slope = torch.randn(10, generator=trial.generator)
    x = torch.randn(2000, 10, generator=trial.generator)
    y = x @ slope + torch.randn(2000, generator=trial.generator)
    model = nn.Linear(10, 1)
    shadow = copy.deepcopy(model).requires_grad_(requires_grad=False)
    optimizer = SGD(model.parameters(), lr=0.08)
    telemetry = trial.record(model, optimizer)
    kept = 0.9999
    for n_steps, (inputs, target) in enumerate(batches(x, y, 4, trial.generator)):
        loss = functional.mse_loss(model(inputs).squeeze(1), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if trial.fixed:
            moved = 1 - min(kept, (1 + n_steps) / (10 + n_steps))
        else:
            kept = 1 - min(kept, (1 + n_steps) / (10 + n_steps))
            moved = kept
        with torch.no_grad():
            for old, new in zip(shadow.parameters(), model.parameters(), strict=True):
                old.lerp_(new, moved)
        telemetry.step(loss=loss)
    with torch.no_grad():
        held = torch.randn(1000, 10, generator=trial.generator)
        return Reached(error=unexplained(shadow(held), held @ slope))


class _OfSeries(nn.Module):
    """A series with gaps, which are told apart, to one of ten kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.GRU(16, 48, batch_first=True), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        values, there = x.nan_to_num(0.0), (~x.isnan()).float()
        out: Tensor = self.out(self.rnn(torch.cat([values, there], -1))[0].mean(1))
        return out


@case(
    "pypots-667",
    source="https://github.com/WenjieDu/PyPOTS/issues/667",
    wrong="best_model_dict = model.state_dict() is a reference: the best model is the last one",
    mended="a deep copy",
    ported="digits as eight steps of eight channels, a third of the values missing; 250 rows, 60 "
    "epochs; reached: the validation loss of the best",
)
def best_is_the_last(trial: Trial) -> Reached:
    """What is kept goes on training."""
    data = digits()
    x, val_x = data.x[:250].view(-1, 8, 8).clone(), data.val_x.view(-1, 8, 8).clone()
    for part in (x, val_x):
        part[torch.rand(part.shape, generator=trial.generator) < 0.33] = torch.nan
    model = _OfSeries()
    optimizer = Adam(model.parameters(), lr=5e-3)
    telemetry = trial.record(model, optimizer)
    best, kept = math.inf, model.state_dict()
    for _ in range(60):
        model.train()
        for series, label in batches(x, data.y[:250], 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(series), label)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            held = functional.cross_entropy(model(val_x), data.val_y)
        telemetry.log(val_loss=held)
        if float(held) < best:
            best = float(held)
            kept = copy.deepcopy(model.state_dict()) if trial.fixed else model.state_dict()
    model.load_state_dict(kept)
    with torch.no_grad():
        return Reached(error=float(functional.cross_entropy(model(val_x), data.val_y)))


@case(
    "lerobot-280",
    source="https://github.com/huggingface/lerobot/pull/280",
    wrong="names of the backbone are not matched: it gets the rate of the main model, lr_backbone "
    "is never used",
    mended="names that begin with model.backbone",
    ported="a net for ten digits, trained before, for another question and 40 samples; AdamW .05, "
    "and 3e-4 for the backbone",
)
def backbone_has_the_rate_of_the_head(trial: Trial) -> Reached:
    """What was learnt before is washed out."""
    data = digits()
    backbone = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    before = nn.Sequential(backbone, nn.Linear(32, 10))
    first = Adam(before.parameters(), lr=3e-3)
    for _ in range(8):
        for x, y in batches(data.x[:1200], data.y[:1200], 32, trial.generator):
            first.zero_grad()
            functional.cross_entropy(before(x), y).backward()
            first.step()
    model = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(32, 5)})
    prefix = trial.pick("model.backbone", fixed="backbone")
    named = list(model.named_parameters())
    optimizer = AdamW(
        [
            {"params": [p for name, p in named if not name.startswith(prefix)]},
            {"params": [p for name, p in named if name.startswith(prefix)], "lr": 3e-4},
        ],
        lr=5e-2,
        weight_decay=1e-4,
    )
    telemetry = trial.record(model, optimizer)
    x, y = data.x[1200:1240], data.y[1200:1240] // 2
    for _ in range(50):
        for rows, label in batches(x, y, 8, trial.generator):
            loss = functional.cross_entropy(model["head"](model["backbone"](rows)), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = model["head"](model["backbone"](data.val_x)).argmax(-1)
    return Reached(share=float((told == data.val_y // 2).float().mean()))
