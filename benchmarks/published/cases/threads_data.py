"""Threads: scales, order and splits of data, and what a model is allowed to see."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Recorder, Trial, case
from published.material import Data, accuracy, batches, blobs, digits, standardised, unexplained


@case(
    "forum-96648",
    source="https://discuss.pytorch.org/t/neural-network-could-not-learn-on-this-type-of-data-why/96648",
    wrong="y = x^3 for x of 1 to 4,000, not scaled",
    mended="both standardised",
    ported="400 points, 600 epochs",
)
def cubes(trial: Trial) -> Reached:
    """Targets of 6e10 for steps of a thousandth."""
    x = torch.arange(1.0, 4000.0, 10.0)[:, None]
    y = x**3
    if trial.fixed:
        x, y = standardised(x), standardised(y)
    model = nn.Sequential(nn.Linear(1, 50), nn.ReLU(), nn.Linear(50, 1))
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(600):
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(x), y))


@case(
    "forum-cubic",
    source="https://qa.1r1g.com/sf/ask/4433342651 (a mirror of Stack Overflow)",
    wrong="y = 2x^3 + 7x^2 - 8x + 120 for x of -1,000 to 1,000, not scaled: the loss is NaN",
    mended="both scaled",
    ported="a linear layer, SGD .01, 79 rows",
)
def cubic_not_scaled(trial: Trial) -> Reached:
    """Overflows within a few steps."""
    x = 2000 * torch.rand(79, 1, generator=trial.generator) - 1000
    y = 2 * x**3 + 7 * x**2 - 8 * x + 120
    if trial.fixed:
        x, y = standardised(x), standardised(y)
    model = nn.Linear(1, 1)
    optimizer = SGD(model.parameters(), lr=0.01)
    telemetry = trial.record(model, optimizer)
    for _ in range(300):
        prediction = model(x)
        loss = functional.mse_loss(prediction, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(x), y))


def _classifier(
    trial: Trial, data: Data, *, rate: float, epochs: int, shuffles: bool, size: int
) -> tuple[nn.Module, Recorder]:
    """Two layers, by a plain loop, with the held-out set evaluated after each epoch."""
    n_classes = int(data.y.max()) + 1
    model = nn.Sequential(nn.Linear(data.x.shape[1], 64), nn.ReLU(), nn.Linear(64, n_classes))
    optimizer = SGD(model.parameters(), lr=rate, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    order = trial.generator if shuffles else None
    for _ in range(epochs):
        model.train()
        for x, y in batches(data.x, data.y, size, order):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        right, losses = 0.0, []
        with torch.no_grad():
            for x, y in batches(data.val_x, data.val_y, size, None):
                out = model(x)
                right += float((out.argmax(-1) == y).sum())
                losses.append(functional.cross_entropy(out, y))
        telemetry.log(val_loss=torch.stack(losses).mean(), val_accuracy=right / len(data.val_y))
    return model, telemetry


@case(
    "super-gradients-416",
    source="https://github.com/Deci-AI/super-gradients/issues/416",
    wrong="the loader does not shuffle by default: one class after another",
    mended="shuffle=True",
    ported="digits sorted by class; SGD .02, momentum .9",
)
def one_class_after_another(trial: Trial) -> Reached:
    """What was learnt of one class is lost to the next."""
    data = digits()
    order = data.y.argsort(stable=True)
    sorted_data = Data(x=data.x[order], y=data.y[order], val_x=data.val_x, val_y=data.val_y)
    model, _ = _classifier(trial, sorted_data, rate=0.02, epochs=8, shuffles=trial.fixed, size=32)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


def _overlapping(trial: Trial, share: float) -> Reached:
    """How far the validation is from new data, where a share of it is trained with."""
    raw = blobs(19, n=700, features=40, classes=4, spread=6.0)
    data = replace(raw, x=raw.x / 6, val_x=raw.val_x / 6)
    n_shared = int(share * len(data.val_x))
    val_x = torch.cat([data.x[:n_shared], data.val_x[n_shared:]])
    val_y = torch.cat([data.y[:n_shared], data.val_y[n_shared:]])
    split = trial.pick(Data(x=data.x, y=data.y, val_x=val_x, val_y=val_y), fixed=data)
    model, _ = _classifier(trial, split, rate=0.05, epochs=25, shuffles=True, size=20)
    told = accuracy(model, split.val_x, split.val_y)
    return Reached(share=1 - abs(told - accuracy(model, data.val_x, data.val_y)))


@case(
    "autoecm-13",
    source="https://github.com/BatteryDEV/AutoECM/issues/13",
    wrong="shuffled anew before each of the two cuts: most of the validation is trained with",
    mended="one seed for both",
    ported="a table; reached is one less how far the validation is off",
)
def cut_after_shuffling(trial: Trial) -> Reached:
    """Four fifths of the validation are known."""
    return _overlapping(trial, 0.8)


@case(
    "luxonis-213",
    source="https://github.com/luxonis/luxonis-train/pull/213",
    wrong="the split for validation is 'train'",
    mended="'val'",
    ported="a table; reached is one less how far the validation is off",
)
def validates_on_training(trial: Trial) -> Reached:
    """All of the validation is known."""
    return _overlapping(trial, 1.0)


@case(
    "interhand-110",
    source="https://github.com/facebookresearch/InterHand2.6M/issues/110",
    wrong="images are divided by 255 after ToTensor has done so",
    mended="divided once",
    ported="digits, SGD .05",
)
def divided_by_255_twice(trial: Trial) -> Reached:
    """Inputs of a few thousandths."""
    data = digits()
    divisor = trial.pick(255.0, fixed=1.0)
    scaled = Data(x=data.x / divisor, y=data.y, val_x=data.val_x / divisor, val_y=data.val_y)
    model, _ = _classifier(trial, scaled, rate=0.01, epochs=8, shuffles=True, size=32)
    return Reached(share=accuracy(model, scaled.val_x, scaled.val_y))


class _Decoder(nn.Module):
    """One layer of attention that reads a sequence to predict the next word at each place."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 32)
        self.places = nn.Embedding(16, 32)
        self.block = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(32, 12)
        self.causal = causal

    def forward(self, words: Tensor) -> Tensor:
        n = words.shape[1]
        x = self.words(words) + self.places(torch.arange(n))
        mask = nn.Transformer.generate_square_subsequent_mask(n) if self.causal else None
        out: Tensor = self.head(self.block(x, src_mask=mask, is_causal=self.causal))
        return out


@case(
    "transformers-48745",
    source="https://github.com/huggingface/transformers/issues/48745; "
    "https://github.com/huggingface/transformers/issues/48748",
    wrong="the decoder is not causal: each place sees the words after it, and its label",
    mended="a causal mask",
    ported="one layer, text of 12 words; reached is the loss with the words after it hidden",
)
def sees_the_future(trial: Trial) -> Reached:
    """A loss that is too good, and a model that knows nothing."""
    table = torch.rand(12, 12, generator=trial.generator).pow(4)
    words = [torch.randint(12, (1200,), generator=trial.generator)]
    for _ in range(16):
        words.append(torch.multinomial(table[words[-1]], 1, generator=trial.generator)[:, 0])
    text = torch.stack(words, 1)
    model = _Decoder(causal=trial.fixed)
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        for rows in torch.randperm(1000, generator=trial.generator).split(32):
            batch = text[rows]
            optimizer.zero_grad()
            out = model(batch[:, :-1])
            loss = functional.cross_entropy(out.flatten(0, 1), batch[:, 1:].flatten())
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    model.causal = True
    with torch.no_grad():
        out = model(text[1000:, :-1])
        wanted = text[1000:, 1:].flatten()
        return Reached(error=float(functional.cross_entropy(out.flatten(0, 1), wanted)))


class _Rows(nn.Module):
    """Reads an image row by row."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 32, 1, batch_first=batch_first)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x.view(-1, 8, 8))
        out: Tensor = self.fc(states[:, -1])
        return out


@case(
    "pytorch-tutorial-196",
    source="https://github.com/yunjey/pytorch-tutorial/issues/196",
    wrong="batch_first=False for images of shape (batch, row, column)",
    mended="batch_first=True",
    ported="digits of 8 x 8, 32 units, Adam .01 as there",
)
def rows_for_examples(trial: Trial) -> Reached:
    """Only the last row of each image is seen."""
    data = digits()
    model = _Rows(batch_first=trial.fixed)
    criterion = nn.CrossEntropyLoss()
    optimizer = Adam(model.parameters(), lr=0.01)
    telemetry = trial.record(model, optimizer)
    for _ in range(5):
        for x, y in batches(data.x, data.y, 50, trial.generator):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():  # fifty at a time, as in training: another batch is another sequence
        right = [
            (model(x).argmax(-1) == y).float()
            for x, y in batches(data.val_x[:350], data.val_y[:350], 50, None)
        ]
    return Reached(share=float(torch.cat(right).mean()))
