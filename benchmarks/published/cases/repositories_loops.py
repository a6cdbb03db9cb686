"""Issues of repositories and TrainCheck's workloads: what the loop does in the wrong place."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, Dataset, TensorDataset

from published.case import Reached, Trial, case
from published.material import accuracy, batches, blobs, digits, images

TRAINCHECK = "OrderLab/TrainCheck-Evaluation-Workloads (OSDI 2025)"


class _TwoConvolutions(nn.Module):
    """Two convolutions, a pool, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 1)
        self.conv2 = nn.Conv2d(8, 16, 3, 1)
        self.fc1 = nn.Linear(64, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv1(x))
        x = functional.max_pool2d(self.conv2(x), 2)
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        out: Tensor = self.fc2(x)
        return out


@case(
    "traincheck-60335387",
    source=f"https://stackoverflow.com/questions/60335387 ({TRAINCHECK})",
    wrong="optimizer.zero_grad() missing",
    mended="added",
    ported="digits of 8 x 8, channels a quarter, 12 epochs of 47 steps",
)
def never_cleared(trial: Trial) -> Reached:
    """Each step takes the gradients of all steps before it."""
    data = images()
    loader = DataLoader(
        TensorDataset((data.x - 0.3) / 0.38, data.y),
        batch_size=30,
        shuffle=True,
        generator=trial.generator,
    )
    model = _TwoConvolutions()
    criterion = nn.CrossEntropyLoss()
    optimizer = Adam(model.parameters(), lr=1e-4)
    telemetry = trial.record(model, optimizer)
    for _ in range(12):
        model.train()
        for x, label in loader:
            if trial.fixed:
                optimizer.zero_grad()
            loss = criterion(model(x), label)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, (data.val_x - 0.3) / 0.38, data.val_y))


class _Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Images that are moved and made noisy, by numbers that depend on the sample or are drawn."""

    def __init__(self, x: Tensor, y: Tensor, *, fresh: bool) -> None:
        self.x, self.y, self.fresh = x, y, fresh
        self.draws = 0

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.draws += 1
        generator = torch.Generator().manual_seed(self.draws if self.fresh else index)
        moves = torch.randint(-1, 2, (2,), generator=generator).tolist()
        moved = self.x[index].roll(moves, (-2, -1))
        return moved + 0.3 * torch.randn(moved.shape, generator=generator), self.y[index]


@case(
    "traincheck-67180955",
    source=f"https://stackoverflow.com/questions/67180955 ({TRAINCHECK}); "
    "tanelp.github.io/posts/a-bug-that-plagues-thousands-of-open-source-ml-projects",
    wrong="NumPy's seed gives every epoch the same augmentations",
    mended="seeded anew",
    ported="shifts and noise seeded by the sample, 300 samples",
)
def same_augmentations(trial: Trial) -> Reached:
    """Augmented once and for all."""
    data = images()
    dataset = _Augmented(data.x[:300], data.y[:300], fresh=trial.fixed)
    loader = DataLoader(dataset, batch_size=30, shuffle=True, generator=trial.generator)
    model = _TwoConvolutions()
    optimizer = Adam(model.parameters(), lr=2e-3)
    telemetry = trial.record(model, optimizer)
    validation = _Augmented(data.val_x, data.val_y, fresh=False)
    held_out = torch.stack([validation[index][0] for index in range(len(validation))])
    for _ in range(40):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = model(held_out)
        right = (out.argmax(-1) == data.val_y).float().mean()
        telemetry.log(val_loss=functional.cross_entropy(out, data.val_y), val_accuracy=right)
    return Reached(share=float(right))


@case(
    "pytorch-fcn-57",
    source="https://github.com/wkentaro/pytorch-fcn/issues/57",
    wrong="a validation inside the epoch leaves the model in eval mode",
    mended="train() after it",
)
def validates_inside(trial: Trial) -> Reached:
    """Without dropout from the first validation to the end of the epoch."""
    data = blobs(5, n=260, features=20, classes=4, spread=3.0)
    model = nn.Sequential(
        *(nn.Linear(20, 256), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 4)),
    )
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    telemetry = trial.record(model, optimizer)
    iteration = 0
    for _ in range(60):
        model.train()
        for x, y in batches(data.x, data.y, 16, trial.generator):
            if iteration % 13 == 2:
                model.eval()
                with torch.no_grad():
                    telemetry.log(val_loss=functional.cross_entropy(model(data.val_x), data.val_y))
                if trial.fixed:
                    model.train()
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            iteration += 1
    model.eval()
    with torch.no_grad():
        return Reached(error=float(functional.cross_entropy(model(data.val_x), data.val_y)))


@case(
    "srgan-94",
    source="https://github.com/leftthomas/SRGAN/issues/94",
    wrong="StepLR(epochs // 2) is stepped each batch: the rate is 0 after a few steps",
    mended="stepped each epoch",
)
def stepped_each_batch(trial: Trial) -> Reached:
    """A rate that is gone before anything is learnt."""
    data = digits()
    epochs = 10
    model = nn.Sequential(nn.Linear(64, 128), nn.PReLU(), nn.Linear(128, 10))
    optimizer = Adam(model.parameters(), lr=1e-3)
    scheduler = StepLR(optimizer, step_size=epochs // 2, gamma=0.1)
    telemetry = trial.record(model, optimizer)
    for _ in range(epochs):
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if not trial.fixed:
                scheduler.step()
        if trial.fixed:
            scheduler.step()
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "selene-115",
    source="https://github.com/FunctionLab/selene/issues/115",
    wrong="ReduceLROnPlateau(mode='max') watches a loss: the rate falls while it improves",
    mended="mode='min'",
    ported="12 short epochs",
)
def plateau_of_a_loss(trial: Trial) -> Reached:
    """The better it gets, the slower it goes."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-6)
    mode = trial.pick("max", fixed="min")
    scheduler = ReduceLROnPlateau(optimizer, mode, patience=1, factor=0.1)
    telemetry = trial.record(model, optimizer)
    for _ in range(12):
        model.train()
        for x, y in batches(data.x[:640], data.y[:640], 64, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            val_loss = functional.cross_entropy(model(data.val_x), data.val_y)
        telemetry.log(val_loss=val_loss)
        scheduler.step(float(val_loss))
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "lightning-9599",
    source="https://github.com/Lightning-AI/pytorch-lightning/issues/9599",
    wrong="gradients are clipped before they are unscaled: they shrink by the loss scale",
    mended="unscale_() first",
    ported="GradScaler and bfloat16 autocast on the CPU, SGD",
)
def clipped_while_scaled(trial: Trial) -> Reached:
    """A norm of one, divided by 65,536."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            if trial.fixed:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "pytorch-47175",
    source="https://github.com/pytorch/pytorch/issues/47175",
    wrong="zero_grad() once an epoch",
    mended="once a step",
)
def cleared_once_an_epoch(trial: Trial) -> Reached:
    """Within an epoch each step takes all gradients so far."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = SGD(model.parameters(), lr=0.1)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        optimizer.zero_grad()
        for x, y in batches(data.x, data.y, 32, trial.generator):
            if trial.fixed:
                optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "pytorch-31771",
    source="https://github.com/pytorch/pytorch/issues/31771",
    wrong="DistributedSampler without set_epoch: every epoch in the same order",
    mended="set_epoch(epoch)",
    ported="one process",
)
def same_order(trial: Trial) -> Reached:
    """Shuffled once and for all."""
    data = digits()
    dataset = TensorDataset(data.x, data.y)
    sampler = torch.utils.data.DistributedSampler(dataset, num_replicas=1, rank=0)
    loader = DataLoader(dataset, batch_size=32, sampler=sampler)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = SGD(model.parameters(), lr=0.1)
    telemetry = trial.record(model, optimizer)
    for epoch in range(8):
        if trial.fixed:
            sampler.set_epoch(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))
