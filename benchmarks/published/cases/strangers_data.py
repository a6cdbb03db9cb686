"""Strangers' loops: what is read, how it was prepared, and what it is held against."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer

from published.case import Reached, Trial, case
from published.lightning_like import Batch, LightningLike, fit
from published.material import accuracy, batches, digits, images


class _Events(LightningLike):
    """Counts of events, by a small convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: Batch) -> Tensor:
        return functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch) -> dict[str, Tensor]:
        right = (self(batch[0]).argmax(-1) == batch[1]).float().mean()
        return {"val_loss": self.training_step(batch), "val_accuracy": right}

    def configure_optimizers(self) -> Optimizer:
        return Adam(self.parameters(), lr=1e-3)


@case(
    "event-representation-2",
    source="https://github.com/uzh-rpg/rpg_event_representation_learning/issues/2",
    wrong="classes are numbered as listdir() gives the folders: for test otherwise",
    mended="sorted(listdir(root))",
    ported="digits; the order of the folders is drawn",
)
def numbered_apart(trial: Trial) -> Reached:
    """The validation is right about another alphabet."""
    data = images()
    order = torch.randperm(10, generator=trial.generator)
    val_y = data.val_y if trial.fixed else order[data.val_y]
    module = _Events()
    fit(
        trial,
        module,
        lambda: batches(data.x, data.y, 16, trial.generator),
        (data.val_x, val_y),
        max_epochs=6,
    )
    return Reached(share=accuracy(module, data.val_x, val_y))


@case(
    "kaggle-image-classify-12",
    source="https://github.com/Borda/kaggle_image-classify/pull/12",
    wrong="the data set is shuffled after the raw labels were taken from it",
    mended="shuffled before",
    ported="digits, a fifth of them for the validation; both parts have labels of other images",
)
def labels_taken_before_the_shuffle(trial: Trial) -> Reached:
    """Each image has a label, of some image."""
    data = images()
    order = torch.randperm(len(data.x), generator=trial.generator)
    x = data.x[order]
    y = data.y[order] if trial.fixed else data.y
    cut = int(0.8 * len(x))
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(12):
        model.train()
        for image, label in batches(x[:cut], y[:cut], 32, trial.generator):
            loss = functional.cross_entropy(model(image), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = model(x[cut:])
            telemetry.log(
                val_loss=functional.cross_entropy(out, y[cut:]),
                val_accuracy=(out.argmax(-1) == y[cut:]).float().mean(),
            )
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "yolov5-2582",
    source="https://github.com/ultralytics/yolov5/issues/2582",
    wrong="on one process the loader does not shuffle: one folder, then the next",
    mended="a flag is_train that shuffles",
    ported="digits; the first folder has 0 to 4, the second 5 to 9",
)
def one_folder_then_the_next(trial: Trial) -> Reached:
    """Half of the classes is forgotten in each epoch."""
    data = images()
    order = torch.argsort((data.y >= 5).long(), stable=True)
    x, y = data.x[order], data.y[order]
    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(192, 64), nn.SiLU(), nn.Linear(64, 10)),
    )
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.937, nesterov=True, weight_decay=5e-4)
    telemetry = trial.record(model, optimizer)
    for _ in range(6):
        shuffled = trial.generator if trial.fixed else None
        for image, label in batches(x, y, 16, shuffled):
            loss = functional.cross_entropy(model(image), label)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            telemetry.step(loss=loss)
        with torch.no_grad():
            telemetry.log(val_loss=functional.cross_entropy(model(data.val_x), data.val_y))
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "font-recognition-2",
    source="https://github.com/robinreni96/Font_Recognition-DeepFont/issues/2",
    wrong="images are augmented, then split: the validation has copies of what is trained with",
    mended="split, then augmented",
    ported="300 noisy digits, four copies of each with more noise; reached is one less how far "
    "the validation is off",
)
def augmented_before_the_split(trial: Trial) -> Reached:
    """The validation knows the originals."""
    data = digits()

    def photographed(image: Tensor) -> Tensor:
        return image + 0.6 * torch.randn(image.shape, generator=trial.generator)

    def augmented(image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        noise = 0.1 * torch.randn(4 * len(image), 64, generator=trial.generator)
        return torch.cat([image, image.repeat(4, 1) + noise]), label.repeat(5)

    fonts, names = photographed(data.x[:300]), data.y[:300]
    if trial.fixed:
        x, y = augmented(fonts[:240], names[:240])
        val_x, val_y = augmented(fonts[240:], names[240:])
    else:
        x, y = augmented(fonts, names)
        order = torch.randperm(len(x), generator=trial.generator)
        x, val_x, y, val_y = x[order[:1200]], x[order[1200:]], y[order[:1200]], y[order[1200:]]
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        model.train()
        for image, label in batches(x, y, 32, trial.generator):
            loss = functional.cross_entropy(model(image), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = model(val_x)
            right = (out.argmax(-1) == val_y).float().mean()
            telemetry.log(val_loss=functional.cross_entropy(out, val_y), val_accuracy=right)
    told = accuracy(model, val_x, val_y)
    return Reached(share=1 - abs(told - accuracy(model, photographed(data.val_x), data.val_y)))
