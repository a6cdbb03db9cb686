"""Strangers' loops: what the loss is given, and what is left in it."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau

from published.case import Reached, Trial, case
from published.keras_like import Compiled, adam, categorical_crossentropy, dense
from published.material import accuracy, batches, digits, images, unexplained


def _dice(shares: Tensor, mask: Tensor) -> Tensor:
    """One less twice the overlap over both."""
    both = (shares * mask).sum((-1, -2))
    return (1 - (2 * both + 1) / (shares.sum((-1, -2)) + mask.sum((-1, -2)) + 1)).mean()


def _strokes(trial: Trial) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noisy digits with masks of background, pale and dark pixels; the last 300 are held back."""
    x = images().x
    kinds = (x.squeeze(1) > 0.3).long() + (x.squeeze(1) > 0.8).long()
    masks = functional.one_hot(kinds, 3).permute(0, 3, 1, 2).float()
    x = x + 0.1 * torch.randn(x.shape, generator=trial.generator)
    return x[:1100], masks[:1100], x[1100:], masks[1100:]


def _segmenter(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU()),
        nn.Conv2d(12, classes, 1),
    )


@torch.no_grad()
def _overlap(model: nn.Module, x: Tensor, masks: Tensor) -> Reached:
    told = functional.one_hot(model(x).argmax(1), masks.shape[1]).permute(0, 3, 1, 2).float()
    both = (told * masks).sum((0, 2, 3))
    return Reached(share=float((2 * both / (told + masks).sum((0, 2, 3))).mean()))


@case(
    "loss-toolbox-11",
    source="https://github.com/Hsuxu/Loss_ToolBox-PyTorch/issues/11",
    wrong="DiceLoss takes the softmax, and the binary one that it calls takes a sigmoid of that",
    mended="an option that leaves the sigmoid out",
    ported="background, pale and dark pixels of digits; SGD .1 with momentum .9",
)
def sigmoid_of_softmax(trial: Trial) -> Reached:
    """Shares between one half and three quarters."""
    x, masks, val_x, val_masks = _strokes(trial)
    model = _segmenter()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    for _ in range(6):
        for image, mask in batches(x, masks, 22, trial.generator):
            shares = torch.softmax(model(image), 1)
            if not trial.fixed:
                shares = torch.sigmoid(shares)
            loss = torch.stack([_dice(shares[:, i], mask[:, i]) for i in range(3)]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return _overlap(model, val_x, val_masks)


@case(
    "tf-unet-15",
    source="https://github.com/jakeret/tf_unet/issues/15",
    wrong="the dice loss is computed of logits",
    mended="of their softmax",
    ported="strokes of digits and background; Adam .003",
)
def dice_of_logits(trial: Trial) -> Reached:
    """The sum below the line may be zero."""
    x, masks, val_x, val_masks = _strokes(trial)
    masks, val_masks = (torch.cat([m[:, :1], 1 - m[:, :1]], 1) for m in (masks, val_masks))
    model = _segmenter(2)
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        for image, mask in batches(x, masks, 11, trial.generator):
            logits = model(image)
            shares = torch.softmax(logits, 1) if trial.fixed else logits
            above = 2 * (shares * mask).sum()
            loss = 1 - above / (1e-5 + shares.sum() + mask.sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return _overlap(model, val_x, val_masks)


class _Molecules(nn.Module):
    """A sequence through eight numbers and back."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(14, 16, padding_idx=0)
        self.read, self.write = nn.GRU(16, 48, batch_first=True), nn.GRU(24, 48, batch_first=True)
        self.mean, self.log_variance = nn.Linear(48, 8), nn.Linear(48, 8)
        self.out = nn.Linear(48, 14)

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.read(self.embed(text))[1][0]
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        before = torch.cat([torch.zeros_like(text[:, :1]), text[:, :-1]], 1)
        inputs = torch.cat([self.embed(before), z[:, None].expand(-1, text.shape[1], -1)], -1)
        return self.out(self.write(inputs)[0]), mean, log_variance


@case(
    "molecule-generator-20",
    source="https://github.com/DaoyuanLi2816/Molecule-Generator/pull/20",
    wrong="the crossentropy of the reconstruction is over all places, most of which are padding",
    mended="ignore_index is that of the padding",
    ported="words of 3 to 7 letters padded to 40, by a grammar; right letters are counted",
)
def padding_is_learnt(trial: Trial) -> Reached:
    """Seven of eight places say nothing."""
    n, longest = 500, 40
    lengths = torch.randint(3, 8, (n, 1), generator=trial.generator)
    text = torch.randint(1, 14, (n, longest), generator=trial.generator)
    for place in range(2, longest):
        text[:, place] = 1 + (text[:, place - 1] + text[:, place - 2]) % 13
    text = torch.where(torch.arange(longest) < lengths, text, 0)
    model = _Molecules()
    optimizer = Adam(model.parameters(), lr=2e-3)
    telemetry = trial.record(model, optimizer)
    ignored = trial.pick(-100, fixed=0)
    for _ in range(14):
        for words, _same in batches(text[:400], text[:400], 20, trial.generator):
            out, mean, log_variance = model(words)
            rebuilt = functional.cross_entropy(
                out.flatten(0, 1), words.flatten(), ignore_index=ignored
            )
            kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean()
            loss = rebuilt + 0.01 * kl
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            telemetry.step(loss=loss, reconstruction=rebuilt, kl=kl)
    with torch.no_grad():
        told, held = model(text[400:])[0].argmax(-1), text[400:]
    return Reached(share=float((told == held)[held > 0].float().mean()))


@case(
    "forum-148155",
    source="https://discuss.pytorch.org/t/output-of-the-model-depends-on-the-shape-of-the-weights-tensor/148155",
    wrong="MSELoss of outputs (1024, 1) and targets (1024)",
    mended="y.unsqueeze(1)",
    ported="as it is: three inputs are summed, SGD .1, ReduceLROnPlateau",
)
def sums_of_three(trial: Trial) -> Reached:
    """Each output against every target."""
    x = torch.rand(1024, 3, generator=trial.generator)
    y = x[:, 0] + x[:, 1] + x[:, 2]
    model = nn.Sequential(nn.Linear(3, 1, bias=False))
    nn.init.zeros_(model[0].weight)
    optimizer = SGD(model.parameters(), lr=0.1)
    scheduler = ReduceLROnPlateau(optimizer, "min", factor=0.5, patience=20)
    mse = nn.MSELoss()
    telemetry = trial.record(model, optimizer)
    for _ in range(500):
        optimizer.zero_grad()
        out = model(x)
        loss = mse(out, y.unsqueeze(1) if trial.fixed else y)
        loss.backward()
        optimizer.step()
        scheduler.step(float(loss.detach()))
        telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(x), y))


@case(
    "minutes-133",
    source="https://github.com/ubclaunchpad/minutes/issues/133",
    wrong="the last two layers both have a softmax",
    mended="the last but one has a usual activation",
    ported="digits for the spectrograms; Keras' crossentropy of probabilities",
)
def two_softmaxes(trial: Trial) -> Reached:
    """All that goes on are ten shares."""
    data = digits()
    onehot, val_onehot = (functional.one_hot(y, 10).float() for y in (data.y, data.val_y))
    between = trial.pick(nn.Softmax(-1), fixed=nn.ReLU())
    model = nn.Sequential(
        *(dense(64, 64), nn.ReLU(), nn.Dropout(0.25)),
        *(dense(64, 128), between, dense(128, 10), nn.Softmax(-1)),
    )
    compiled = Compiled(
        trial=trial, model=model, optimizer=adam(model), loss_of=categorical_crossentropy
    )
    compiled.fit(data.x, onehot, epochs=12, batch_size=32, validation_data=(data.val_x, val_onehot))
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "info-nce-17",
    source="https://github.com/RElbers/info-nce-pytorch/pull/17",
    wrong="logits of the negatives are divided by the temperature, that of the positive is not",
    mended="all are",
    ported="two noisy views of 40 classes; reached is whether the nearest view is the right one",
)
def temperature_of_the_negatives(trial: Trial) -> Reached:
    """Ten times as far."""
    centres = torch.randn(400, 12, generator=trial.generator)
    mixing = torch.randn(12, 40, generator=trial.generator)

    def view(rows: Tensor) -> Tensor:
        clean = torch.tanh(0.5 * centres[rows] @ mixing)
        return clean + 0.7 * torch.randn(clean.shape, generator=trial.generator)

    model = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 16))
    optimizer = AdamW(model.parameters(), lr=2e-3)
    telemetry = trial.record(model, optimizer)
    temperature = 0.1

    def similar(rows: Tensor) -> Tensor:
        one, two = (functional.normalize(model(view(rows)), dim=-1) for _ in range(2))
        return one @ two.T

    for _ in range(25):
        for rows, _same in batches(torch.arange(300), torch.arange(300), 30, trial.generator):
            cosines = similar(rows)
            logits = cosines / temperature
            if not trial.fixed:
                own = torch.eye(len(rows), dtype=torch.bool)
                logits = torch.where(own, cosines, logits)
            loss = functional.cross_entropy(logits, torch.arange(len(rows)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = similar(torch.arange(300, 400)).argmax(-1) == torch.arange(100)
    return Reached(share=float(told.float().mean()))
