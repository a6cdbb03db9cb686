"""A fourth set: sounds and writing, read in steps."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Trial, case
from published.material import batches, images, unexplained


@case(
    "pytorch-stoi-7",
    source="https://github.com/mpariente/pytorch_stoi/issues/7",
    wrong="the loss divides by square roots of sums of squares; silence gives a root of 0, whose "
    "gradient is NaN",
    mended="EPS is added before the root",
    ported="envelopes of 40 steps out of noise, by a mask; the first silence comes in the "
    "third epoch",
)
def root_of_silence(trial: Trial) -> Reached:
    """A pause in the speech."""
    n = 480
    clean = torch.randn(n, 8, generator=trial.generator)
    clean = functional.interpolate(clean[:, None], size=40, mode="linear")[:, 0].clamp_min(0)
    noisy = clean + 0.4 * torch.randn(n, 40, generator=trial.generator)
    model = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 40), nn.Sigmoid())
    optimizer = Adam(model.parameters(), lr=2e-3)
    telemetry = trial.record(model, optimizer)
    eps = trial.pick(0.0, fixed=1e-8)

    def root(values: Tensor) -> Tensor:
        return (values.square().sum(1) + eps).sqrt()

    for epoch in range(12):
        if epoch == 2:
            noisy[7], clean[7] = 0.0, 0.0
        for inputs, target in batches(noisy[:400], clean[:400], 20, trial.generator):
            out = model(inputs) * inputs
            made, wanted = out - out.mean(1, keepdim=True), target - target.mean(1, keepdim=True)
            likeness = (made * wanted).sum(1) / (root(made) * root(wanted) + 1e-8)
            loss = 1 - likeness.mean() + 0.1 * functional.l1_loss(out, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, likeness=likeness.mean())
    with torch.no_grad():
        return Reached(error=unexplained(model(noisy[400:]) * noisy[400:], clean[400:]))


@case(
    "allosaurus-64",
    source="https://github.com/xinjli/allosaurus/issues/64",
    wrong="feature_cmvn takes the root of the mean of squares less the square of the mean, which "
    "rounding makes negative, and divides by a deviation of 0",
    mended="np.std, and 1 for a deviation of 0",
    ported="fine-tuning on eight phones of 12 features; a recording with a dead channel comes at "
    "step 50",
)
def deviation_below_zero(trial: Trial) -> Reached:
    """A microphone that was off."""
    n, steps = 400, 10
    y = torch.randint(8, (n,), generator=trial.generator)
    centres = torch.randn(8, steps, 12, generator=trial.generator)
    feature = 3 + centres[y] + 1.5 * torch.randn(n, steps, 12, generator=trial.generator)

    def normalised(x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        if trial.fixed:
            deviation = x.std(1, keepdim=True, correction=0)
            deviation = deviation + (deviation == 0)
        else:
            deviation = (x.square().mean(1, keepdim=True) - mean.square()).sqrt()
        return (x - mean) / deviation

    model = nn.Sequential(nn.Flatten(), nn.Linear(12 * steps, 64), nn.ReLU(), nn.Linear(64, 8))
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    step = 0
    for _ in range(8):
        for x, label in batches(feature[:320], y[:320], 16, trial.generator):
            sound = x.clone()
            if step == 50:
                sound[0, :, 3] = 0.0
            loss = functional.cross_entropy(model(normalised(sound)), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            step += 1
    with torch.no_grad():
        out = model(normalised(feature[320:]))
    right = (out.argmax(-1) == y[320:]) & out.isfinite().all(1)
    return Reached(share=float(right.float().mean()))


def _collapsed(told: Tensor, blank: int) -> list[int]:
    """Symbols without repetitions and blanks."""
    kept = torch.unique_consecutive(told)
    return [int(symbol) for symbol in kept if symbol != blank]


def _spelt(trial: Trial, n: int, symbols: int) -> tuple[Tensor, Tensor]:
    """Four letters, each drawn over three of twelve steps."""
    text = torch.randint(symbols, (n, 4), generator=trial.generator)
    shapes = torch.randn(symbols, 3, 6, generator=torch.Generator().manual_seed(5))
    strokes = shapes[text].reshape(n, 12, 6)
    return strokes + 0.3 * torch.randn(strokes.shape, generator=trial.generator), text


class _Reader(nn.Module):
    """Scores of symbols at each step."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, symbols)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.rnn(x)[0])
        return out


@case(
    "doctr-195",
    source="https://github.com/mindee/doctr/pull/195",
    wrong="the recognition model has a softmax before the CTC loss, which takes logits",
    mended="removed",
    ported="words of four letters out of eight, as strokes of 12 steps; reached: whole words",
)
def softmax_before_ctc(trial: Trial) -> Reached:
    """Chances that stay near each other."""
    x, text = _spelt(trial, 600, 8)
    model = _Reader(9)
    optimizer = Adam(model.parameters(), lr=5e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(14):
        for strokes, word in batches(x[:500], text[:500], 25, trial.generator):
            out = model(strokes)
            if not trial.fixed:
                out = out.softmax(-1)
            n = len(word)
            loss = functional.ctc_loss(
                out.log_softmax(-1).transpose(0, 1),
                word,
                torch.full((n,), 12),
                torch.full((n,), 4),
                blank=8,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = model(x[500:]).argmax(-1)
    right = [
        _collapsed(steps, 8) == torch.unique_consecutive(word).tolist()
        or _collapsed(steps, 8) == word.tolist()
        for steps, word in zip(told, text[500:], strict=True)
    ]
    return Reached(share=sum(right) / len(right))


@case(
    "deepspeech-354",
    source="https://github.com/SeanNaren/deepspeech.pytorch/issues/354",
    wrong="labels are shuffled with the blank among them: the decoder is told where it is, the CTC "
    "loss takes index 0",
    mended="the blank is the first label",
    ported="words of four letters out of seven; the blank is number 5",
)
def blank_is_a_letter(trial: Trial) -> Reached:
    """Word error rate stays at 98."""
    blank = trial.pick(5, fixed=0)
    x, letters = _spelt(trial, 700, 7)
    numbers = torch.tensor([k for k in range(8) if k != blank])
    text = numbers[letters]
    model = _Reader(8)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    telemetry = trial.record(model, optimizer)
    for _ in range(16):
        for sound, word in batches(x[:600], text[:600], 20, trial.generator):
            n = len(word)
            loss = functional.ctc_loss(
                model(sound).log_softmax(-1).transpose(0, 1),
                word,
                torch.full((n,), 12),
                torch.full((n,), 4),
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 4.0)
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = model(x[600:]).argmax(-1)
    right = [
        _collapsed(steps, blank) == word.tolist()
        for steps, word in zip(told, text[600:], strict=True)
    ]
    return Reached(share=sum(right) / len(right))


@case(
    "cudnn-torch-348",
    source="https://github.com/soumith/cudnn.torch/issues/348",
    wrong="resetStates() does nothing: each batch of the same size starts with the last states of "
    "the batch before",
    mended="states of zeros",
    ported="rows of digits by a GRU; batches of 12 to 28 in training, all of 20 in the validation, "
    "where classes are in order",
)
def states_of_the_batch_before(trial: Trial) -> Reached:
    """A digit remembers another."""
    data = images()
    order = data.val_y.argsort(stable=True)[:380]
    order = order.view(19, 20).flip(0).reshape(-1)
    x, val_x, val_y = data.x[:, 0], data.val_x[order, 0], data.val_y[order]

    class _Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(8, 40, batch_first=True), nn.Linear(40, 10)
            self.state: Tensor | None = None

        def reset_states(self) -> None:
            """Forget what was read."""
            if trial.fixed:
                self.state = None

        def forward(self, rows: Tensor) -> Tensor:
            self.reset_states()
            same = self.state is not None and self.state.shape[1] == len(rows)
            hidden, state = self.rnn(rows, self.state if same else None)
            self.state = state.detach()
            out: Tensor = self.out(hidden[:, -1])
            return out

    model = _Rows()
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(6):
        model.train()
        for _batch in range(70):
            size = int(torch.randint(12, 29, (), generator=trial.generator))
            lot = torch.randint(len(x), (size,), generator=trial.generator)
            rows, label = x[lot], data.y[lot]
            loss = functional.cross_entropy(model(rows), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = torch.cat([model(rows) for rows, _y in batches(val_x, val_y, 20, None)])
            right = (out.argmax(-1) == val_y).float().mean()
            telemetry.log(val_loss=functional.cross_entropy(out, val_y), val_accuracy=right)
    return Reached(share=float(right))
