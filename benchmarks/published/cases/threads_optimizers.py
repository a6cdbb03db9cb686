"""Threads: what the optimizer holds, and how many times the loss it is given."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, Optimizer

from published.case import Reached, Recorder, Trial, case
from published.material import accuracy, batches, digits, unexplained


def _epoch(trial: Trial, model: nn.Module, optimizer: Optimizer, telemetry: Recorder) -> None:
    """One epoch of digits."""
    data = digits()
    model.train()
    for x, y in batches(data.x, data.y, 32, trial.generator):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)


class _Scaled(nn.Module):
    """A layer whose scale of inputs is a parameter, as for quantisation."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((64,), 0.02))
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def start_scale(self, *, replaces: bool) -> None:
        """A start from data, which replaces the parameter or fills it."""
        start = torch.full((64,), 0.05)
        if replaces:
            self.scale = nn.Parameter(start)
        else:
            self.scale.data.copy_(start)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x * self.scale)
        return out


@case(
    "nncf-327",
    source="https://github.com/openvinotoolkit/nncf/pull/327",
    wrong="a parameter is replaced after the optimizer was given the model's parameters",
    mended="its values are replaced, not the parameter",
    ported="a scale of the inputs; digits, SGD .1",
)
def replaced_parameter(trial: Trial) -> Reached:
    """The optimizer moves what nobody uses."""
    model = _Scaled()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.start_scale(replaces=not trial.fixed)
    telemetry = trial.record(model, optimizer)
    for _ in range(4):
        _epoch(trial, model, optimizer, telemetry)
    data = digits()
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "deep-learning-399",
    source="https://github.com/mrdbourke/pytorch-deep-learning/issues/399",
    wrong="the optimizer of model_1 was given the parameters of model_0: the loss stays the same",
    mended="params=model_1.parameters()",
    ported="300 epochs",
)
def parameters_of_another_model(trial: Trial) -> Reached:
    """Somebody else is trained."""
    x = torch.arange(0, 1, 0.02)[:, None]
    y = 0.7 * x + 0.3
    model_0, model_1 = nn.Linear(1, 1), nn.Linear(1, 1)
    optimizer = SGD(trial.pick(model_0, fixed=model_1).parameters(), lr=0.01)
    telemetry = trial.record(model_1, optimizer)
    for _ in range(300):
        model_1.train()
        loss = functional.l1_loss(model_1(x[:40]), y[:40])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model_1(x), y))


def _accumulated(trial: Trial, *, rate: float, divisor: float, every: int, epochs: int) -> Reached:
    """Gradients of several batches for each step, divided by something."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = SGD(model.parameters(), lr=rate)
    telemetry = trial.record(model, optimizer)
    for _ in range(epochs):
        optimizer.zero_grad()
        losses = []
        for x, y in batches(data.x[:1280], data.y[:1280], 16, trial.generator):
            loss = functional.cross_entropy(model(x), y)
            (loss / divisor).backward()
            losses.append(loss.detach())
            if len(losses) == every:
                optimizer.step()
                optimizer.zero_grad()
                telemetry.step(loss=torch.stack(losses).mean())
                losses = []
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "neural-sp-168",
    source="https://github.com/hirofumi0810/neural_sp/issues/168",
    wrong="the loss is not divided by accum_grad_n_steps",
    mended="divided",
    ported="digits; gradients of eight batches",
)
def not_divided(trial: Trial) -> Reached:
    """Eight times the rate that was meant."""
    divisor = trial.pick(1.0, fixed=8.0)
    return _accumulated(trial, rate=0.5, divisor=divisor, every=8, epochs=20)


@case(
    "transformers-40052",
    source="https://github.com/huggingface/transformers/issues/40052",
    wrong="the loss is divided by gradient_accumulation_steps by the trainer and by accelerate",
    mended="divided once",
    ported="digits; gradients of eight batches, SGD",
)
def divided_twice(trial: Trial) -> Reached:
    """An eighth of the rate that was meant."""
    divisor = trial.pick(64.0, fixed=8.0)
    return _accumulated(trial, rate=0.1, divisor=divisor, every=8, epochs=20)


@case(
    "ml-by-hand-85",
    source="https://github.com/workofart/ml-by-hand/pull/85",
    wrong="weights in bfloat16 under Adam: steps of 6e-4 are rounded away",
    mended="a master copy of the weights in float32",
    ported="digits; autocast stands for the copy in float32",
)
def rounded_away(trial: Trial) -> Reached:
    """Weights that are too coarse for their steps."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10))
    if not trial.fixed:
        model.bfloat16()
    optimizer = AdamW(model.parameters(), lr=1e-4)
    telemetry = trial.record(model, optimizer)
    dtype = trial.pick(torch.bfloat16, fixed=torch.float32)
    for _ in range(8):
        for x, y in batches(data.x.to(dtype), data.y, 32, trial.generator):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=trial.fixed):
                loss = functional.cross_entropy(model(x).float(), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x.to(dtype), data.val_y))


@case(
    "deepsensor-47",
    source="https://github.com/alan-turing-institute/deepsensor/issues/47",
    wrong="train_epoch makes a new Adam at the start of each epoch",
    mended="one for the whole training",
    ported="digits, eight batches an epoch; the callback is told of each optimizer at once",
)
def fresh_adam_each_epoch(trial: Trial) -> Reached:
    """The second moment is forgotten again and again."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
    optimizer = Adam(model.parameters(), lr=5e-3)
    telemetry = trial.record(model, optimizer)
    for epoch in range(30):
        if epoch and not trial.fixed:
            optimizer.state.clear()  # what a new optimizer begins with
        for x, y in batches(data.x[:128], data.y[:128], 16, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=float(functional.cross_entropy(model(data.x[:128]), data.y[:128])))


@case(
    "mlpnlp-4",
    source="https://github.com/mlpnlp/mlpnlp-nmt/pull/4",
    wrong="eps of Adam is 0.1",
    mended="1e-8",
    ported="digits, rate .001",
)
def large_epsilon(trial: Trial) -> Reached:
    """Steps that epsilon shortens."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
    optimizer = Adam(model.parameters(), lr=1e-3, eps=trial.pick(0.1, fixed=1e-8))
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        _epoch(trial, model, optimizer, telemetry)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "caffe-1396",
    source="https://github.com/BVLC/caffe/issues/1396",
    wrong="weight_decay .5: any input gives the same output",
    mended="weight_decay .0005",
    ported="digits, SGD .01 with momentum .9",
)
def decays_to_nothing(trial: Trial) -> Reached:
    """Weights that fade away."""
    data = digits()
    model = nn.Sequential(
        *(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    decay = trial.pick(0.5, fixed=5e-4)
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=decay)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        _epoch(trial, model, optimizer, telemetry)
    return Reached(share=accuracy(model, data.val_x, data.val_y))
