"""Threads: rates that are too high for what they move."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Trial, case
from published.material import accuracy, batches, images


@case(
    "forum-43814",
    source="https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814/16",
    wrong="the loss stays at 2.30: weights are negative, rectified units dead, derivatives zero",
    mended="a smaller rate",
    ported="a small convolutional network; Adam .1 to .001",
)
def stays_at_ln_ten(trial: Trial) -> Reached:
    """Killed by the first steps."""
    data = images()
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    optimizer = Adam(model.parameters(), lr=trial.pick(0.1, fixed=0.001))
    telemetry = trial.record(model, optimizer)
    for _ in range(6):
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


class _Boxes(nn.Module):
    """A grid of boxes from an image, as for detection: where, how large, whether."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.LeakyReLU(0.1)),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.LeakyReLU(0.1)),
            nn.Conv2d(32, 5, 3, stride=2, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def _scenes(trial: Trial, n: int) -> tuple[Tensor, Tensor]:
    """Images of 16 x 16 with one bright square, and the grid of 4 x 4 that tells it."""
    at = torch.randint(0, 13, (n, 2), generator=trial.generator)
    size = torch.randint(2, 4, (n,), generator=trial.generator)
    x = 0.1 * torch.randn(n, 1, 16, 16, generator=trial.generator)
    target = torch.zeros(n, 5, 4, 4)
    for row in range(n):
        top, left, side = int(at[row, 0]), int(at[row, 1]), int(size[row])
        x[row, 0, top : top + side, left : left + side] += 1
        cell = target[row, :, top // 4, left // 4]
        cell[:] = torch.tensor([1.0, top % 4 / 4, left % 4 / 4, side / 4, side / 4])
    return x, target


def _detected(trial: Trial, optimizer_of: type[torch.optim.Optimizer], rate: float) -> Reached:
    """A detector of squares; where there is nothing, only whether is asked for."""
    x, target = _scenes(trial, 600)
    model = _Boxes()
    more = {"momentum": 0.9} if optimizer_of is SGD else {}
    optimizer = optimizer_of(model.parameters(), lr=rate, **more)  # type: ignore[call-arg]
    telemetry = trial.record(model, optimizer)

    def loss_of(out: Tensor, wanted: Tensor) -> Tensor:
        there = wanted[:, :1]
        whether = functional.binary_cross_entropy_with_logits(out[:, :1], there)
        where = ((out[:, 1:] - wanted[:, 1:]).square() * there).sum() / there.sum().clamp(min=1)
        return whether + 5 * where

    for _ in range(6):
        for inputs, wanted in batches(x[:500], target[:500], 16, trial.generator):
            optimizer.zero_grad()
            loss = loss_of(model(inputs), wanted)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=float(loss_of(model(x[500:]), target[500:])))


@case(
    "darkflow-1059",
    source="https://github.com/thtrieu/darkflow/issues/1059",
    wrong="Adam with rates of .1 and .3: the loss is NaN after a few steps",
    mended="a smaller rate",
    ported="a small detector of squares",
)
def detector_with_adam(trial: Trial) -> Reached:
    """Three hundred times the rate that works."""
    return _detected(trial, Adam, trial.pick(0.3, fixed=0.001))


@case(
    "maskrcnn-295",
    source="https://github.com/facebookresearch/maskrcnn-benchmark/issues/295",
    wrong="the rate for eight devices on one: losses are NaN",
    mended="the rate that fits the batch",
    ported="a small detector of squares, SGD with momentum",
)
def rate_of_eight_devices(trial: Trial) -> Reached:
    """Eight times the rate that works, and more."""
    return _detected(trial, SGD, trial.pick(0.8, fixed=0.02))


class _Tagger(nn.Module):
    """A label for each word, from both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 24)
        self.lstm = nn.LSTM(24, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 5)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.lstm(self.words(words))
        out: Tensor = self.head(states)
        return out


@case(
    "sequence-tagging-47",
    source="https://github.com/guillaumegenthial/sequence_tagging/issues/47",
    wrong="rate .1 (and .01): the loss falls, rises again and becomes NaN",
    mended="rate .001",
    ported="sequences of 12 words, Adam",
)
def tagger(trial: Trial) -> Reached:
    """A hundred times the rate that works."""
    words = torch.randint(30, (700, 12), generator=trial.generator)
    y = (words + words.roll(1, 1)) % 5
    model = _Tagger()
    optimizer = Adam(model.parameters(), lr=trial.pick(0.1, fixed=0.005))
    telemetry = trial.record(model, optimizer)
    for _ in range(12):
        for inputs, targets in batches(words[:600], y[:600], 20, trial.generator):
            optimizer.zero_grad()
            out = model(inputs)
            loss = functional.cross_entropy(out.flatten(0, 1), targets.flatten())
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = model(words[600:]).argmax(-1)
    return Reached(share=float((told == y[600:]).float().mean()))


@case(
    "opennmt-744",
    source="https://github.com/OpenNMT/OpenNMT-tf/issues/744",
    wrong="rate 2 where the default of the model is 2.5e-4: diverged with a loss of NaN",
    mended="2.5e-4",
    ported="one layer of a language model, Adam; 1e-3 for the small model",
)
def language_model(trial: Trial) -> Reached:
    """Eight thousand times the rate that works."""
    start = torch.randint(12, (600, 1), generator=trial.generator)
    stride = torch.randint(1, 4, (600, 1), generator=trial.generator)
    text = (start + stride * torch.arange(13)) % 12
    layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Embedding(12, 32), layer, nn.Linear(32, 12))
    optimizer = Adam(model.parameters(), lr=trial.pick(2.0, fixed=1e-3))
    telemetry = trial.record(model, optimizer)
    mask = nn.Transformer.generate_square_subsequent_mask(12)

    def told(words: Tensor) -> Tensor:
        hidden = model[1](model[0](words), src_mask=mask, is_causal=True)
        out: Tensor = model[2](hidden)
        return out

    for _ in range(10):
        for rows in torch.randperm(500, generator=trial.generator).split(32):
            out = told(text[rows, :-1])
            loss = functional.cross_entropy(out.flatten(0, 1), text[rows, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        out = told(text[500:, :-1])
        wanted = text[500:, 1:].flatten()
        return Reached(error=float(functional.cross_entropy(out.flatten(0, 1), wanted)))
