"""Threads: what the loss is given."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer

from published.case import Reached, Trial, case
from published.lightning_like import Batch, LightningLike, fit
from published.material import (
    accuracy,
    batches,
    blobs,
    digits,
    images,
    unexplained,
)


@case(
    "daisyrec-15",
    source="https://github.com/yudi-mars/daisyRec/pull/15",
    wrong="a sigmoid before BCEWithLogitsLoss: the loss does not converge",
    mended="no sigmoid",
    ported="an item and a user, of factors that were drawn",
)
def sigmoid_twice(trial: Trial) -> Reached:
    """Between one half and three quarters."""
    truth = [torch.randn(60, 4, generator=trial.generator) for _ in range(2)]
    pairs = torch.randint(60, (4000, 2), generator=trial.generator)
    y = ((truth[0][pairs[:, 0]] * truth[1][pairs[:, 1]]).sum(1) > 0).float()

    class _Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users, self.items = nn.Embedding(60, 16), nn.Embedding(60, 16)
            nn.init.normal_(self.users.weight, std=0.1)
            nn.init.normal_(self.items.weight, std=0.1)

        def forward(self, pair: Tensor) -> Tensor:
            score = (self.users(pair[:, 0]) * self.items(pair[:, 1])).sum(1)
            return score if trial.fixed else score.sigmoid()

    model = _Factors()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = Adam(model.parameters(), lr=0.01)
    telemetry = trial.record(model, optimizer)
    for _ in range(6):
        for pair, label in batches(pairs[:3200], y[:3200], 64, trial.generator):
            optimizer.zero_grad()
            loss = criterion(model(pair), label)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = model(pairs[3200:]).sigmoid() > 0.5
    return Reached(share=float((told == y[3200:].bool()).float().mean()))


@case(
    "unet3plus-23",
    source="https://github.com/avBuffer/UNet3plus_pth/issues/23",
    wrong="F.sigmoid at the end of the network and a loss that has its own",
    mended="the network gives logits",
    ported="a small network for the dark pixels of digits",
)
def sigmoid_in_the_network(trial: Trial) -> Reached:
    """Pixels that cannot be denied."""
    data = images()
    y, val_y = (data.x > 0.8).float(), (data.val_x > 0.8).float()
    noise = 0.3 * torch.randn(data.x.shape, generator=trial.generator)
    end = trial.pick(nn.Sigmoid(), fixed=nn.Identity())
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 1, 1), end),
    )
    criterion = nn.BCEWithLogitsLoss()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    for _ in range(5):
        model.train()
        for x, mask in batches(data.x + noise, y, 32, trial.generator):
            optimizer.zero_grad()
            loss = criterion(model(x), mask)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    model.eval()
    with torch.no_grad():
        told = model(data.val_x).sigmoid() > 0.5
    both = (told & val_y.bool()).sum()
    return Reached(share=float(2 * both / (told.sum() + val_y.sum())))


class _TransferLearning(LightningLike):
    """A frozen backbone and a head for two classes, as in the example for fine-tuning."""

    def __init__(self, *, sigmoid: bool) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential(nn.Linear(20, 64), nn.ReLU())
        self.feature_extractor.requires_grad_(requires_grad=False)
        self.fc = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.feature_extractor(x)).squeeze(-1)
        return out.sigmoid() if self.sigmoid else out

    def training_step(self, batch: Batch) -> Tensor:
        return functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch) -> dict[str, Tensor]:
        return {"val_loss": self.training_step(batch)}

    def configure_optimizers(self) -> Optimizer:
        return Adam((p for p in self.parameters() if p.requires_grad), lr=1e-3)


@case(
    "lightning-7096",
    source="https://github.com/Lightning-AI/pytorch-lightning/pull/7096",
    wrong="the example for fine-tuning gives probabilities to binary_cross_entropy_with_logits",
    mended="no sigmoid in forward",
    ported="a frozen random layer for the backbone",
)
def example_for_fine_tuning(trial: Trial) -> Reached:
    """Every example is more likely than not."""
    data = blobs(11, n=1500, features=20, classes=2, spread=1.5)
    y, val_y = data.y.float(), data.val_y.float()
    module = _TransferLearning(sigmoid=not trial.fixed)
    fit(
        trial,
        module,
        lambda: batches(data.x, y, 16, trial.generator),
        (data.val_x, val_y),
        max_epochs=6,
    )
    with torch.no_grad():
        told = module(data.val_x).sigmoid() > 0.5
    return Reached(share=float((told == val_y.bool()).float().mean()))


class _Texts(nn.Module):
    """Means of embeddings."""

    def __init__(self, end: nn.Module) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(200, 32)
        self.head = nn.Sequential(nn.Linear(32, 4), end)

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.head(self.words(words))
        return out


@case(
    "text-classification-9",
    source="https://github.com/AnubhavGupta3377/Text-Classification-Models-Pytorch/issues/9",
    wrong="nn.NLLLoss of the outputs of a softmax: the loss is negative",
    mended="LogSoftmax",
    ported="means of embeddings; SGD .1",
)
def likelihood_of_probabilities(trial: Trial) -> Reached:
    """No logarithm anywhere."""
    y = torch.randint(4, (1500,), generator=trial.generator)
    own = torch.randint(20, (1500, 10), generator=trial.generator) + 20 * y[:, None]
    any_word = torch.randint(200, (1500, 10), generator=trial.generator)
    keep = torch.rand(1500, 10, generator=trial.generator) < 0.4
    words = torch.where(keep, own, any_word)
    model = _Texts(trial.pick(nn.Softmax(-1), fixed=nn.LogSoftmax(-1)))
    criterion = nn.NLLLoss()
    optimizer = SGD(model.parameters(), lr=0.1)
    telemetry = trial.record(model, optimizer)
    for _ in range(12):
        for x, label in batches(words[:1200], y[:1200], 32, trial.generator):
            optimizer.zero_grad()
            loss = criterion(model(x), label)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, words[1200:], y[1200:]))


@case(
    "pointnet-30",
    source="https://github.com/yanx27/Pointnet_Pointnet2_pytorch/issues/30",
    wrong="nll_loss of raw outputs: the loss falls below zero without end",
    mended="log_softmax before it",
    ported="sets of 16 points, which form they have",
)
def likelihood_of_logits(trial: Trial) -> Reached:
    """Whatever is largest grows."""
    y = torch.randint(3, (900,), generator=trial.generator)
    angle = 6.3 * torch.rand(900, 16, generator=trial.generator)
    shapes = torch.stack(
        [
            torch.stack([angle.cos(), angle.sin()], -1),
            torch.stack([angle.cos(), angle.cos()], -1),
            torch.stack([angle.cos().sign(), angle.sin()], -1),
        ]
    )
    points = shapes[y, torch.arange(900)] + 0.1 * torch.randn(900, 16, 2, generator=trial.generator)

    class _Points(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU())
            self.head = nn.Linear(64, 3)

        def forward(self, cloud: Tensor) -> Tensor:
            out: Tensor = self.head(self.each(cloud).amax(1))
            return functional.log_softmax(out, -1) if trial.fixed else out

    model = _Points()
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(16):
        for cloud, label in batches(points[:720], y[:720], 24, trial.generator):
            optimizer.zero_grad()
            loss = functional.nll_loss(model(cloud), label)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, points[720:], y[720:]))


@case(
    "pytorchfundamentals-21",
    source="https://github.com/MicrosoftDocs/pytorchfundamentals/pull/21",
    wrong="LogSoftmax(dim=0): normalised over the batch",
    mended="over the classes",
    ported="digits, Adam .01",
)
def normalised_over_the_batch(trial: Trial) -> Reached:
    """Which example is most like a three, instead of what an example is."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 10), nn.LogSoftmax(trial.pick(0, fixed=-1)))
    criterion = nn.NLLLoss()
    optimizer = Adam(model.parameters(), lr=0.01)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for x, y in batches(data.x, data.y, 64, trial.generator):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


def _regression(trial: Trial, *, column: bool, recurrent: bool) -> Reached:
    """Targets of shape (n) against outputs of shape (n, 1), or of the same shape."""
    x = torch.randn(800, 6, generator=trial.generator)
    y = x[:, 0] - 0.5 * x[:, 1] + 0.5 * torch.sin(2 * x[:, 2])
    y = y + 0.1 * torch.randn(800, generator=trial.generator)
    layers = [nn.Linear(6, 64), nn.GELU() if recurrent else nn.ReLU(), nn.Linear(64, 1)]
    model = nn.Sequential(*layers)
    criterion = nn.MSELoss()
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(15):
        for inputs, targets in batches(x[:640], y[:640], 32, trial.generator):
            out = model(inputs)
            wanted = targets.view_as(out) if trial.fixed else targets
            if not column and not trial.fixed:
                out, wanted = out.flatten(), targets[:, None]
            optimizer.zero_grad()
            loss = criterion(out, wanted)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(x[640:]).flatten(), y[640:]))


@case(
    "coursia-926",
    source="https://github.com/jsboige/CoursIA/pull/926",
    wrong="MSELoss of outputs (64, 1) and targets (64): each output against every target",
    mended="y_batch.view_as(pred)",
    ported="a table for the series",
)
def outputs_are_columns(trial: Trial) -> Reached:
    """The answer is the mean."""
    return _regression(trial, column=True, recurrent=True)


@case(
    "matsciml-347",
    source="https://github.com/IntelLabs/matsciml/pull/347",
    wrong="labels have a dimension more than the readouts: the loss is broadcast",
    mended="outputs get the shape of the labels",
    ported="a table for the graphs",
)
def labels_are_columns(trial: Trial) -> Reached:
    """The answer is the mean."""
    return _regression(trial, column=False, recurrent=False)


@case(
    "vmt-1",
    source="https://github.com/xudonmao/VMT/issues/1",
    wrong="mixup draws one permutation for the images and another for the labels",
    mended="one permutation for both",
    ported="digits",
)
def mixed_apart(trial: Trial) -> Reached:
    """Half of each label belongs to somebody else."""
    data = digits()
    onehot = functional.one_hot(data.y, 10).float()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for x, y in batches(data.x, onehot, 32, trial.generator):
            share = float(torch.rand((), generator=trial.generator))
            order = torch.randperm(len(x), generator=trial.generator)
            other = order if trial.fixed else torch.randperm(len(x), generator=trial.generator)
            mixed = share * x + (1 - share) * x[order]
            labels = share * y + (1 - share) * y[other]
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(mixed), labels)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=float(functional.cross_entropy(model(data.val_x), data.val_y)))
