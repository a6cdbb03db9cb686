"""Threads: gradients that are not cleared, modes, schedules."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from published.case import Reached, Recorder, Trial, case
from published.material import accuracy, batches, blobs, digits, images, unexplained


@case(
    "pytorch-learning-1",
    source="https://github.com/greebear/pytorch-learning/issues/1",
    wrong="a line by hand: w.grad and b.grad are never zeroed",
    mended="w.grad.data.zero_(), b.grad.data.zero_()",
    ported="no optimizer: the weights are moved by hand",
)
def line_by_hand(trial: Trial) -> Reached:
    """Each step takes the gradients of all steps before it."""
    x = torch.linspace(0, 20, 100)[:, None] / 10
    y = 3 * x + 8 + 0.3 * torch.randn(100, 1, generator=trial.generator)
    model = nn.Linear(1, 1)
    telemetry = trial.record(model, None)
    for _ in range(300):
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(0.05 * parameter.grad)
                    if trial.fixed:
                        parameter.grad.zero_()
        telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(x), y))


@case(
    "aihwkit-446",
    source="https://github.com/IBM/aihwkit/issues/446",
    wrong="the example of one layer misses opt.zero_grad(): the loss falls, then rises again",
    mended="opt.zero_grad() in the loop",
    ported="a digital layer of 4 to 2; 100 steps",
)
def one_layer(trial: Trial) -> Reached:
    """Swings as a pendulum does."""
    x = torch.tensor([[0.1, 0.2, 0.4, 0.3], [0.2, 0.1, 0.1, 0.3]])
    y = torch.tensor([[1.0, 0.5], [0.7, 0.3]])
    model = nn.Linear(4, 2)
    optimizer = SGD(model.parameters(), lr=0.1)
    telemetry = trial.record(model, optimizer)
    for _ in range(100):
        if trial.fixed:
            optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=float(functional.mse_loss(model(x), y)))


def _evaluated(model: nn.Module, telemetry: Recorder, x: Tensor, y: Tensor) -> None:
    """Log loss and accuracy, in whatever mode the model is."""
    with torch.no_grad():
        out = model(x)
    telemetry.log(
        val_loss=functional.cross_entropy(out, y),
        val_accuracy=(out.argmax(-1) == y).float().mean(),
    )


@case(
    "vsepp-4",
    source="https://github.com/fartashf/vsepp/issues/4",
    wrong="after the first validation of an epoch the model stays in eval mode until the next one",
    mended="train_start() after the validation",
    ported="a classifier with dropout .5 for the two encoders",
)
def eval_until_next_epoch(trial: Trial) -> Reached:
    """Without dropout in most steps."""
    data = blobs(7, n=200, features=30, classes=3, spread=4.0)
    model = nn.Sequential(
        *(nn.Linear(30, 256), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 3)),
    )
    optimizer = Adam(model.parameters(), lr=2e-4)
    telemetry = trial.record(model, optimizer)
    n_steps = 0
    for _ in range(90):
        model.train()
        for x, y in batches(data.x, data.y, 16, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            n_steps += 1
            if n_steps % 5 == 0:
                model.eval()
                _evaluated(model, telemetry, data.val_x, data.val_y)
                if trial.fixed:
                    model.train()
    model.eval()
    with torch.no_grad():
        return Reached(error=float(functional.cross_entropy(model(data.val_x), data.val_y)))


def _normed() -> nn.Sequential:
    """Convolutions with BatchNorm for images of 8 x 8."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )


@case(
    "clevr-iep-22",
    source="https://github.com/facebookresearch/clevr-iep/pull/22",
    wrong="check_accuracy sets the model to eval and never back, so BatchNorm stands still",
    mended="set_mode('train') after the check",
    ported="digits; checked after 5 steps and then each 100",
)
def check_leaves_eval(trial: Trial) -> Reached:
    """Trained with the statistics of the first steps."""
    data = images()
    model = _normed()
    optimizer = Adam(model.parameters(), lr=5e-4)
    telemetry = trial.record(model, optimizer)
    model.train()
    n_steps = 0
    for _ in range(8):
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            n_steps += 1
            if n_steps % 100 == 5:
                model.eval()
                _evaluated(model, telemetry, data.val_x, data.val_y)
                if trial.fixed:
                    model.train()
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "multibench-26",
    source="https://github.com/pliang279/MultiBench/issues/26",
    wrong="model.train() inside of the validation: it is measured with dropout",
    mended="model.train() removed",
    ported="digits, dropout .5",
)
def validates_in_training(trial: Trial) -> Reached:
    """The validation says less than is known."""
    data = digits()
    model = nn.Sequential(
        *(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10)),
    )
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        model.train()
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        if not trial.fixed:
            model.train()
        _evaluated(model, telemetry, data.val_x, data.val_y)
    with torch.no_grad():
        told = (model(data.val_x).argmax(-1) == data.val_y).float().mean()
    return Reached(share=float(told))


@case(
    "pytorch-3dunet-53",
    source="https://github.com/wolny/pytorch-3dunet/issues/53",
    wrong="no eval() for the validation: BatchNorm takes its statistics from batches of one",
    mended="eval() before the validation, train() after it",
    ported="digits, a validation of one image at a time",
)
def validates_one_by_one(trial: Trial) -> Reached:
    """Statistics of one image, which also end up in the model."""
    data = images()
    model = _normed()
    optimizer = Adam(model.parameters(), lr=2e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(4):
        model.train()
        for x, y in batches(data.x, data.y, 32, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        if trial.fixed:
            model.eval()
        with torch.no_grad():
            out = torch.cat([model(image[None]) for image in data.val_x[:60]])
        right = (out.argmax(-1) == data.val_y[:60]).float().mean()
        telemetry.log(val_loss=functional.cross_entropy(out, data.val_y[:60]), val_accuracy=right)
        model.train()
    return Reached(share=float(right))


@case(
    "ivadomed-55",
    source="https://github.com/ivadomed/ivadomed/pull/55",
    wrong="a schedule of epochs is stepped in the loop over the batches",
    mended="stepped in the loop over the epochs",
    ported="CosineAnnealingLR(T_max=epochs), digits",
)
def cosine_of_batches(trial: Trial) -> Reached:
    """A rate that goes up and down all the time."""
    data = digits()
    epochs = 8
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = Adam(model.parameters(), lr=1e-3)
    scheduler = CosineAnnealingLR(optimizer, epochs)
    telemetry = trial.record(model, optimizer)
    for _ in range(epochs):
        model.train()
        for x, y in batches(data.x, data.y, 18, trial.generator):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if not trial.fixed:
                scheduler.step()
        if trial.fixed:
            scheduler.step()
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "tutorials-640",
    source="https://github.com/pytorch/tutorials/pull/640",
    wrong="StepLR(step_size=7, gamma=0.1) is stepped for each batch",
    mended="for each epoch",
    ported="SGD .001, momentum .9 and batches of 4 as there; 400 digits, 8 epochs",
)
def transfer_learning_schedule(trial: Trial) -> Reached:
    """A rate that is gone after twenty batches."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = SGD(model.parameters(), lr=0.001, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=7, gamma=0.1)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        model.train()
        for x, y in batches(data.x[:400], data.y[:400], 4, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if not trial.fixed:
                scheduler.step()
        if trial.fixed:
            scheduler.step()
        model.eval()
        _evaluated(model, telemetry, data.val_x, data.val_y)
    return Reached(share=accuracy(model, data.val_x, data.val_y))
