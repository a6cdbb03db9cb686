"""Issues of repositories: what the model or its loss is made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer

from published.case import Reached, Trial, case
from published.material import accuracy, batches, blobs, digits


def _trained(trial: Trial, model: nn.Module, optimizer: Optimizer, *, epochs: int) -> Reached:
    """A classifier of digits, by a plain loop."""
    data = digits()
    telemetry = trial.record(model, optimizer)
    for _ in range(epochs):
        model.train()
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


class _SoftmaxAtTheEnd(nn.Module):
    """Convolutions over time, as for activities; the last layer may give probabilities."""

    def __init__(self, *, softmax: bool) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv1d(8, 32, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2))
        self.conv2 = nn.Sequential(nn.Conv1d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2))
        self.fc1 = nn.Sequential(nn.Linear(128, 100), nn.ReLU())
        self.fc2 = nn.Linear(100, 10)
        self.softmax = softmax

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x.view(-1, 8, 8)))
        out: Tensor = self.fc2(self.fc1(x.flatten(1)))
        return functional.softmax(out, dim=1) if self.softmax else out


@case(
    "activity-recognition-10",
    source="https://github.com/jindongwang/Deep-learning-activity-recognition/issues/10",
    wrong="F.softmax before nn.CrossEntropyLoss",
    mended="removed",
    ported="digits as series of eight channels; SGD .01, momentum .9 as there",
)
def softmax_twice(trial: Trial) -> Reached:
    """Probabilities where logits belong."""
    model = _SoftmaxAtTheEnd(softmax=not trial.fixed)
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)
    return _trained(trial, model, optimizer, epochs=8)


class _Listed(nn.Module):
    """Hidden layers in a list of Python, or in one that torch sees."""

    def __init__(self, *, seen: bool) -> None:
        super().__init__()
        self.first = nn.Linear(64, 32)
        hidden = [nn.Linear(32, 32) for _ in range(4)]
        for layer in hidden:
            nn.init.normal_(layer.weight, std=0.05)
        self.hidden = nn.ModuleList(hidden) if seen else hidden
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        for layer in self.hidden:
            x = torch.tanh(layer(x))
        out: Tensor = self.head(x)
        return out


@case(
    "pytorch-715",
    source="https://github.com/pytorch/pytorch/issues/715; "
    "https://github.com/ikostrikov/pytorch-meta-optimizer/issues/11",
    wrong="hidden layers in a Python list: in no optimizer",
    mended="nn.ModuleList",
)
def layers_in_a_list(trial: Trial) -> Reached:
    """Layers that nobody trains."""
    model = _Listed(seen=trial.fixed)
    return _trained(trial, model, SGD(model.parameters(), lr=0.1, momentum=0.9), epochs=6)


class _Extracted(nn.Module):
    """An encoder behind an extractor that may detach what it keeps."""

    def __init__(self, *, detaches: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 10))
        self.detaches = detaches

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        kept = features.clone().detach() if self.detaches else features
        out: Tensor = self.head(kept)
        return out


@case(
    "coca-6",
    source="https://github.com/lucidrains/CoCa-pytorch/issues/6",
    wrong="an extractor detaches its output: the encoder gets no gradient",
    mended="not detached",
)
def extractor_detaches(trial: Trial) -> Reached:
    """An encoder that stays as it was drawn."""
    model = _Extracted(detaches=not trial.fixed)
    return _trained(trial, model, Adam(model.parameters(), lr=3e-3), epochs=8)


@case(
    "focal-loss-17",
    source="https://github.com/mkocabas/focal-loss-keras/issues/17; "
    "https://github.com/maudzung/RTM3D/issues/13",
    wrong="focal loss: log(0) without an epsilon",
    mended="epsilon",
)
def focal_loss(trial: Trial) -> Reached:
    """Zero times minus infinity."""
    data = blobs(3, n=1500, features=10, classes=2, spread=0.7)
    x = 300 * data.x
    epsilon = trial.pick(0.0, fixed=1e-7)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for inputs, y in batches(x, data.y, 32, trial.generator):
            told = model(inputs).flatten().clamp(epsilon, 1 - epsilon)
            right = torch.where(y == 1, told, 1 - told)
            weight = torch.where(y == 1, 0.25, 0.75)
            loss = -(weight * (1 - right) ** 2 * torch.log(right)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        right_share = ((model(300 * data.val_x).flatten() > 0.5) == data.val_y).float().mean()
    return Reached(share=float(right_share))


class _Recalls(nn.Module):
    """Says from the last state of an LSTM which symbol came first."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 24, batch_first=batch_first)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)
        out: Tensor = self.head(states[:, -1])
        return out


@case(
    "fairseq-2449",
    source="https://github.com/facebookresearch/fairseq/issues/2449; "
    "https://github.com/AndersonJo/dqn-pytorch/issues/1",
    wrong="nn.LSTM without batch_first gets (batch, time, feature)",
    mended="batch_first=True",
)
def batch_for_time(trial: Trial) -> Reached:
    """Each example is read as a moment of the others."""
    symbols = torch.randint(5, (1500, 5), generator=trial.generator)
    x, y = functional.one_hot(symbols, 5).float(), symbols[:, 0]
    model = _Recalls(batch_first=trial.fixed)
    optimizer = Adam(model.parameters(), lr=5e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(12):
        for inputs, targets in batches(x[:1200], y[:1200], 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, x[1200:], y[1200:]))
