"""A fourth set: images, boxes and masks, and what they are held against."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Trial, case
from published.lightning_like import Batch, LightningLike, fit
from published.material import accuracy, batches, blobs, digits, images


@case(
    "yolov3-202",
    source="https://github.com/ultralytics/yolov3/issues/202",
    wrong="the predicted width and height go through a sigmoid in the loss, and not in detection",
    mended="no sigmoid",
    ported="one bright box on 16 x 16 noisy pixels; sizes are exp(t) times an anchor of 6; "
    "reached: mean overlap",
)
def sizes_through_a_sigmoid(trial: Trial) -> Reached:
    """Boxes at the right place, and of the wrong size."""
    n, anchor = 900, 6.0
    size = torch.randint(3, 13, (n, 2), generator=trial.generator).float()
    middle = size / 2 + torch.rand(n, 2, generator=trial.generator) * (16 - size)
    pixel = torch.arange(16) + 0.5
    inside = (pixel[None, None, :] - middle[:, :, None]).abs() < size[:, :, None] / 2
    x = (inside[:, 0, :, None] & inside[:, 1, None, :]).float()[:, None]
    x = x + 0.3 * torch.randn(x.shape, generator=trial.generator)
    target = torch.cat([middle / 16, (size / anchor).log()], 1)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.LeakyReLU(0.1)),
        *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.LeakyReLU(0.1)),
        *(nn.Flatten(), nn.Linear(256, 4)),
    )
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    telemetry = trial.record(model, optimizer)
    for _ in range(12):
        model.train()
        for image, wanted in batches(x[:720], target[:720], 16, trial.generator):
            out = model(image)
            xy, wh = torch.sigmoid(out[:, :2]), out[:, 2:]
            if not trial.fixed:
                wh = torch.sigmoid(wh)
            loss_xy = functional.mse_loss(xy, wanted[:, :2])
            loss_wh = functional.mse_loss(wh, wanted[:, 2:])
            loss = 5 * loss_xy + loss_wh
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, xy=loss_xy, wh=loss_wh)
    model.eval()
    with torch.no_grad():
        out = model(x[720:])
        told, wide = 16 * torch.sigmoid(out[:, :2]), anchor * out[:, 2:].exp()
        low = torch.maximum(told - wide / 2, (middle - size / 2)[720:])
        high = torch.minimum(told + wide / 2, (middle + size / 2)[720:])
        both = (high - low).clamp_min(0).prod(1)
        share = both / (wide.prod(1) + size[720:].prod(1) - both)
    return Reached(share=float(share.mean()))


@case(
    "yolo-105",
    source="https://github.com/MultimediaTechLab/YOLO/issues/105",
    wrong="mixup multiplies the targets of both images, class numbers and boxes, by its weights",
    mended="the targets of both images as they are",
    ported="a digit in one of four cells of 16 x 16 pixels; mixed with a weight of .3 to .7; "
    "reached: right cell and right digit",
)
def class_numbers_are_multiplied(trial: Trial) -> Reached:
    """A 7 times .4 is a 2."""
    data = images()

    def placed(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cell = torch.randint(4, (len(x),), generator=trial.generator)
        canvas = torch.zeros(len(x), 4, 8, 8)
        canvas[torch.arange(len(x)), cell] = x[:, 0]
        canvas = canvas.view(-1, 2, 2, 8, 8).transpose(2, 3).reshape(-1, 1, 16, 16)
        corner = torch.stack([cell % 2, cell // 2], 1).float() / 2 + 0.25
        return canvas, y, corner

    x, y, corner = placed(data.x, data.y)
    val_x, val_y, val_corner = placed(data.val_x, data.val_y)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2)),
        nn.Conv2d(32, 11, 2, stride=2),
    )
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for rows, _same in batches(torch.arange(len(x)), torch.arange(len(x)), 28, trial.generator):
            other = rows[torch.randperm(len(rows), generator=trial.generator)]
            lam = float(0.3 + 0.4 * torch.rand((), generator=trial.generator))
            image = lam * x[rows] + (1 - lam) * x[other]
            wanted = torch.zeros(len(rows), 11, 2, 2)
            for part, weight in ((rows, lam), (other, 1 - lam)):
                factor = 1.0 if trial.fixed else weight
                name = (factor * y[part]).long()
                column, row = (2 * factor * corner[part]).long().unbind(1)
                wanted[torch.arange(len(part)), name, row, column] = 1.0
                wanted[torch.arange(len(part)), 10, row, column] = 1.0
            loss = functional.binary_cross_entropy_with_logits(model(image), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        out = model(val_x)
    column, row = (2 * val_corner).long().unbind(1)
    found = out[:, 10].flatten(1).argmax(1) == 2 * row + column
    told = out[torch.arange(len(out)), :10, row, column].argmax(1)
    return Reached(share=float((found & (told == val_y)).float().mean()))


@case(
    "augmentor-205",
    source="https://github.com/mdbloice/Augmentor/issues/205",
    wrong="zoom_random draws its region for the image, and draws it anew for the mask",
    mended="one region for both",
    ported="dark pixels of noisy digits of 16 x 16; 56 percent of the area, always",
)
def mask_of_another_region(trial: Trial) -> Reached:
    """Edges that are somewhere else."""
    x = functional.interpolate(images().x[:700], scale_factor=2.0, mode="bilinear")
    masks = (x > 0.45).float()
    x = x + 0.2 * torch.randn(x.shape, generator=trial.generator)

    def region() -> tuple[int, int]:
        top, left = torch.randint(5, (2,), generator=trial.generator).tolist()
        return int(top), int(left)

    def zoomed(image: Tensor, corner: tuple[int, int]) -> Tensor:
        cut = image[..., corner[0] : corner[0] + 12, corner[1] : corner[1] + 12]
        return functional.interpolate(cut, size=(16, 16), mode="nearest")

    model = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU()),
        nn.Conv2d(12, 1, 3, padding=1),
    )
    optimizer = Adam(model.parameters(), lr=5e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(4):
        for image, mask in batches(x[:560], masks[:560], 8, trial.generator):
            corners = [region() for _one in image]
            others = corners if trial.fixed else [region() for _one in image]
            inputs = torch.cat([zoomed(i[None], c) for i, c in zip(image, corners, strict=True)])
            wanted = torch.cat([zoomed(m[None], c) for m, c in zip(mask, others, strict=True)])
            loss = functional.binary_cross_entropy_with_logits(model(inputs), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = model(x[560:]) > 0
    held = masks[560:] > 0.5
    return Reached(share=float((told & held).sum() / (told | held).sum()))


@case(
    "knowing-when-to-look-6",
    source="https://github.com/fawazsammani/knowing-when-to-look-adaptive-attention/issues/6",
    wrong="features (batch, channels, 4, 4) are viewed as (batch, pixels, channels)",
    mended="permute(0, 2, 3, 1) before the view",
    ported="four digits side by side in two rows; a number asks for one of them, attention looks",
)
def channels_are_taken_for_pixels(trial: Trial) -> Reached:
    """Each place has a bit of one channel."""
    data = images()
    n = 1600
    which = torch.randint(len(data.x), (n, 4), generator=trial.generator)
    tiles = data.x[which][:, :, 0].view(n, 2, 2, 8, 8)
    x = tiles.transpose(2, 3).reshape(n, 1, 16, 16)
    asked = torch.randint(4, (n,), generator=trial.generator)
    y = data.y[which].gather(1, asked[:, None]).squeeze(1)

    class _Adaptive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(
                *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            )
            self.places = nn.Parameter(0.1 * torch.randn(16, 32))
            self.query = nn.Embedding(4, 32)
            self.key, self.out = nn.Linear(32, 32), nn.Linear(32, 10)

        def forward(self, image: Tensor, question: Tensor) -> Tensor:
            features = self.encoder(image)
            if trial.fixed:
                features = features.permute(0, 2, 3, 1)
            pixels = features.reshape(len(image), 16, 32)
            scores = (self.key(pixels + self.places) * self.query(question)[:, None]).sum(-1)
            seen = (scores.softmax(1)[..., None] * pixels).sum(1)
            out: Tensor = self.out(seen)
            return out

    model = _Adaptive()
    optimizer = Adam(model.parameters(), lr=4e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(12):
        for rows, label in batches(torch.arange(1300), y[:1300], 32, trial.generator):
            loss = functional.cross_entropy(model(x[rows], asked[rows]), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = model(x[1300:], asked[1300:]).argmax(-1)
    return Reached(share=float((told == y[1300:]).float().mean()))


@case(
    "resnet-pytorch-1",
    source="https://github.com/JeasunLok/ResNet-pytorch/issues/1",
    wrong="Normalize is in the transforms of the training set and not in those of the test set",
    mended="in both",
    ported="digits; a mean of .5 and a deviation of .25, a small residual network",
)
def test_is_not_normalised(trial: Trial) -> Reached:
    """Good in training, and bad in the test."""
    data = images()
    x, val_x = (data.x - 0.5) / 0.25, data.val_x
    if trial.fixed:
        val_x = (val_x - 0.5) / 0.25

    class _Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (nn.Conv2d(16, 16, 3, padding=1, bias=False) for _ in range(2))
            self.norm_one, self.norm_two = nn.BatchNorm2d(16), nn.BatchNorm2d(16)

        def forward(self, hidden: Tensor) -> Tensor:
            inner = functional.relu(self.norm_one(self.one(hidden)))
            return functional.relu(hidden + self.norm_two(self.two(inner)))

    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(_Block(), nn.MaxPool2d(2), _Block(), nn.Flatten(), nn.Linear(256, 10)),
    )
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    telemetry = trial.record(model, optimizer)
    for _ in range(5):
        model.train()
        for image, label in batches(x, data.y, 64, trial.generator):
            loss = functional.cross_entropy(model(image), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = model(val_x)
            right = (out.argmax(-1) == data.val_y).float().mean()
            telemetry.log(test_loss=functional.cross_entropy(out, data.val_y), test_accuracy=right)
    return Reached(share=accuracy(model, val_x, data.val_y))


class _AlwaysTraining(nn.BatchNorm1d):
    """As the source calls the layer of its library: with training=not freeze."""

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.batch_norm(
            hidden, self.running_mean, self.running_var, self.weight, self.bias, training=True
        )


@case(
    "keras-resnet-47",
    source="https://github.com/broadinstitute/keras-resnet/pull/47",
    wrong="BatchNormalization(freeze=False) is always in the training mode, in the validation too",
    mended="training=None, as the mode is",
    ported="digits; the validation has one class after another, in batches of 16",
)
def norm_is_always_training(trial: Trial) -> Reached:
    """A digit among its like."""
    data = digits()
    order = data.val_y.argsort(stable=True)
    val_x, val_y = data.val_x[order], data.val_y[order]
    norm = trial.pick(_AlwaysTraining, fixed=nn.BatchNorm1d)
    model = nn.Sequential(
        *(nn.Linear(64, 96, bias=False), norm(96), nn.ReLU()),
        *(nn.Linear(96, 64, bias=False), norm(64), nn.ReLU(), nn.Linear(64, 10)),
    )
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        model.train()
        for x, y in batches(data.x, data.y, 28, trial.generator):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = torch.cat([model(x) for x, _y in batches(val_x, val_y, 16, None)])
            right = (out.argmax(-1) == val_y).float().mean()
            telemetry.log(val_loss=functional.cross_entropy(out, val_y), val_acc=right)
    return Reached(share=float(right))


class _Penalised(LightningLike):
    """Classes that are rare, with weights in the loss."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.net = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 3))

    def training_step(self, batch: Batch) -> Tensor:
        return functional.cross_entropy(self.net(batch[0]), batch[1], weight=self.weight)

    def validation_step(self, batch: Batch) -> dict[str, Tensor]:
        out = self.net(batch[0])
        loss = functional.cross_entropy(out, batch[1], weight=self.weight)
        return {"val_loss": loss, "val_acc": (out.argmax(-1) == batch[1]).float().mean()}

    def configure_optimizers(self) -> SGD:
        return SGD(self.parameters(), lr=0.1)


@case(
    "gandlf-209",
    source="https://github.com/mlcommons/GaNDLF/issues/209",
    wrong="the penalty of a class in the loss is its share, instead of one less it",
    mended="one less its share",
    ported="three kinds, 90, 7 and 3 percent of the rows; reached: mean recall",
)
def penalties_are_shares(trial: Trial) -> Reached:
    """Who is rare counts for nothing."""
    n = 2400
    lot = torch.rand(n, generator=trial.generator)
    y = (lot > 0.9).long() + (lot > 0.97).long()
    centres = 0.9 * torch.randn(3, 12, generator=trial.generator)
    x = centres[y] + torch.randn(n, 12, generator=trial.generator)
    shares = functional.one_hot(y[:1800], 3).float().mean(0)
    module = _Penalised(shares if not trial.fixed else 1 - shares)
    generator = trial.generator
    fit(
        trial,
        module,
        lambda: batches(x[:1800], y[:1800], 60, generator),
        (x[1800:], y[1800:]),
        max_epochs=8,
    )
    with torch.no_grad():
        told = module.net(x[1800:]).argmax(-1)
    held = y[1800:]
    recall = torch.stack([(told == k)[held == k].float().mean() for k in range(3)])
    return Reached(share=float(recall.mean()))


@case(
    "pytorch-22566",
    source="https://github.com/pytorch/pytorch/issues/22566",
    wrong="numbers of folders are taken for labels in the evaluation; ImageFolder sorts names as "
    "text: label 2 is folder 10",
    mended="labels are mapped to the names of their folders",
    ported="25 classes of 20 numbers each, as folders 0 to 24",
)
def folders_are_sorted_as_text(trial: Trial) -> Reached:
    """90 percent with the loader, and 15 without."""
    data = blobs(7, n=3000, features=20, classes=25)
    names = sorted(str(k) for k in range(25))
    label_of = torch.tensor([names.index(str(k)) for k in range(25)])
    y = label_of[data.y]
    val_y = label_of[data.val_y] if trial.fixed else data.val_y
    model = nn.Sequential(nn.Linear(20, 96), nn.ReLU(), nn.Dropout(0.2), nn.Linear(96, 25))
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    for _ in range(6):
        model.train()
        for x, label in batches(data.x, y, 40, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), label)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = model(data.val_x)
            right = (out.argmax(-1) == val_y).float().mean()
            telemetry.log(val_loss=functional.cross_entropy(out, val_y), val_accuracy=right)
    return Reached(share=accuracy(model, data.val_x, val_y))
