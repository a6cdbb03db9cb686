"""Questions of Stack Overflow and repositories that DeepLocalize and DeepFD collected: scales."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Trial, case
from published.keras_like import (
    Compiled,
    adam,
    binary_crossentropy,
    dense,
    mean_absolute_error,
    mean_squared_error,
    nesterov,
    rmsprop,
)
from published.material import cut, standardised, unexplained

COLLECTION = "Wardat-ISU/DeepLocalize, ArabelaTso/DeepFD"


def _address(question: int) -> str:
    return f"https://stackoverflow.com/questions/{question} ({COLLECTION})"


@case(
    "deepfd-17",
    source=_address(52800582),
    wrong="y = x^4 up to 1e8 and x up to 100, not scaled",
    mended="both standardised",
    ported="600 epochs",
)
def fourth_power(trial: Trial) -> Reached:
    """Targets far beyond what the steps reach."""
    x = torch.arange(-100, 100, 0.5)[:, None]
    y = x**4
    if trial.fixed:
        x, y = standardised(x), standardised(y)
    model = nn.Sequential(dense(1, 50), nn.Sigmoid(), dense(50, 50), nn.ELU(), dense(50, 1))
    network = Compiled(trial=trial, model=model, optimizer=adam(model), loss_of=mean_squared_error)
    network.fit(x, y, epochs=600, batch_size=len(x))
    return Reached(error=unexplained(network.predict(x), y))


def _counties(trial: Trial, n: int) -> tuple[Tensor, Tensor]:
    """Sixteen columns of a census, from shares to numbers of people, and who won."""
    draws = torch.randn(n, 16, generator=trial.generator)
    y = ((draws[:, 0] + draws[:, 5] - draws[:, 9]) > 0).float()
    middle = torch.tensor(
        [
            *(11.0, 38.0, 38.0, 14.0, 15.0, 15.0, 9.0, 9.0),
            *(2.4, 55.0, 17.0, 19.0, 11.2, -0.5, -0.2, 0.5),
        ]
    )
    width = torch.tensor(
        [
            *(1.2, 2.0, 2.0, 4.0, 3.0, 3.0, 1.5, 1.5),
            *(0.1, 4.0, 4.0, 6.0, 0.3, 0.3, 0.3, 0.3),
        ]
    )
    x = middle + width * draws
    counts = [0, 6, 7, 12]  # people and money: their logarithms are normal
    x[:, counts] = x[:, counts].exp()
    return x, y


@case(
    "deepfd-19",
    source=_address(34673164),
    wrong="columns up to 662,628 not scaled; softmax and squared error",
    mended="BatchNorm on the input, sigmoid, binary crossentropy",
    ported="400 rows like those",
)
def census_not_scaled(trial: Trial) -> Reached:
    """Tanh units that are full from the first step."""
    x, y = _counties(trial, 500)
    data = cut(x, y)
    head = trial.pick(
        nn.Sequential(dense(64, 2, "uniform"), nn.Softmax(-1)),
        fixed=nn.Sequential(dense(64, 2, "uniform"), nn.Sigmoid()),
    )
    model = nn.Sequential(
        *([nn.BatchNorm1d(16)] if trial.fixed else []),
        *(dense(16, 64, "uniform"), nn.Tanh(), nn.Dropout(0.5)),
        *(dense(64, 64, "uniform"), nn.Tanh(), nn.Dropout(0.5), head),
    )
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=nesterov(model, 0.1),
        loss_of=trial.pick(mean_squared_error, fixed=nn.BCELoss()),
    )
    network.fit(data.x, functional.one_hot(data.y.long(), 2).float(), epochs=20, batch_size=16)
    told = network.predict(data.val_x).argmax(-1)
    return Reached(share=float((told == data.val_y).float().mean()))


@case(
    "deepfd-23",
    source=_address(44066044),
    wrong="addresses of 3.2e9 not scaled; rectified output with binary crossentropy",
    mended="preprocessing.scale, sigmoid",
    ported="20 rows like those",
)
def addresses_not_scaled(trial: Trial) -> Reached:
    """Numbers that are names."""
    y = (torch.arange(20) % 4 == 1).float()
    x = torch.zeros(20, 11)
    x[:, 0] = 3232235773 + 5.0 * torch.randint(2, (20,), generator=trial.generator)
    x[:, 1], x[:, 2], x[:, 3], x[:, 4] = 3232235779, 6, 128, 524544
    x[:, 5] = torch.where(y > 0, 502.0, 56783.0)
    x[::2, 6:10] = torch.tensor([12.0, 61.0, 6.0, 0.0])
    x[::2, 10] = 206
    x = trial.pick(x, fixed=standardised(x.double()).float())
    head = trial.pick(nn.ReLU(), fixed=nn.Sigmoid())
    model = nn.Sequential(
        *(dense(11, 12, "normal"), nn.ReLU(), dense(12, 12, "normal"), nn.ReLU()),
        *(dense(12, 1, "normal"), head),
    )
    network = Compiled(trial=trial, model=model, optimizer=adam(model), loss_of=binary_crossentropy)
    network.fit(x, y, epochs=100, batch_size=5)
    return Reached(error=float(binary_crossentropy(network.predict(x), y)))


@case(
    "deepfd-26",
    source=_address(45442843),
    wrong="softmax over one unit, absolute error; one input of 20,000 not scaled",
    mended="scaled, sigmoid, squared error, Adam",
    ported="999 rows like those",
)
def price_not_scaled(trial: Trial) -> Reached:
    """The answer is always one."""
    x = 20_000 + 3_000 * torch.randn(999, 1, generator=trial.generator)
    y = (x < 20_000).float()
    x = trial.pick(x, fixed=standardised(x))
    data = cut(x, y)
    head = trial.pick(nn.Softmax(-1), fixed=nn.Sigmoid())
    model = nn.Sequential(dense(1, 1), nn.Sigmoid(), dense(1, 1, "normal"), head)
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=trial.pick(rmsprop(model), fixed=adam(model)),
        loss_of=trial.pick(mean_absolute_error, fixed=mean_squared_error),
    )
    network.fit(data.x, data.y, epochs=100, batch_size=200)
    right = (network.predict(data.val_x) > 0.5).float() == data.val_y
    return Reached(share=float(right.float().mean()))


class _Tagger(nn.Module):
    """A class for each word of a sequence."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.head = nn.Linear(16, n_classes)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.lstm(self.words(words))
        out: Tensor = self.head(states)
        return out.flatten(0, 1)


@case(
    "deepfd-32",
    source=_address(59282996).replace("Wardat-ISU/DeepLocalize, ", ""),
    wrong="labels 1 and 2 for two classes, padding as class 0; 10 epochs, which are 10 steps",
    mended="labels 0 and 1, two units, 30 epochs",
    ported="an LSTM that tags sequences of 12 words",
)
def ten_steps(trial: Trial) -> Reached:
    """Ended before it began."""
    words = torch.randint(1, 40, (64, 12), generator=trial.generator)
    y = (words % 2).flatten()
    model = _Tagger(trial.pick(3, fixed=2))
    network = Compiled(
        trial=trial,
        model=model,
        optimizer=adam(model),
        loss_of=lambda out, target: functional.cross_entropy(out, target.flatten()),
    )
    targets = trial.pick(y + 1, fixed=y).view(64, 12)
    network.fit(words, targets, epochs=trial.pick(10, fixed=30), batch_size=64)
    told = network.predict(words).argmax(-1) - trial.pick(1, fixed=0)
    return Reached(share=float((told == y).float().mean()))


@case(
    "deepfd-49",
    source="ShyamPoovaiah/FacialKeypointsDetection on GitHub at 6543925 (ArabelaTso/DeepFD)",
    wrong="Adam with rate .1 on a linear network of 9,216 inputs",
    mended="rate .01 with momentum .9, gradients clipped to 1",
    ported="15 spots on 48 x 48 pixels for the faces, 300 steps",
)
def keypoints(trial: Trial) -> Reached:
    """Thirty coordinates from pixels."""
    places = torch.rand(960, 15, 2, generator=trial.generator) * 0.3
    grid = torch.linspace(0, 1, 48)
    home = torch.rand(15, 2, generator=trial.generator) * 0.7
    at = places + home
    rows = torch.exp(-((grid - at[..., :1]) ** 2) / 0.002)
    columns = torch.exp(-((grid - at[..., 1:]) ** 2) / 0.002)
    x = torch.einsum("nkr,nkc->nrc", rows, columns).clamp(max=1).flatten(1)
    y = (2 * at - 1).flatten(1)
    model = nn.Sequential(dense(2304, 50), dense(50, 100), dense(100, 30))
    optimizer = trial.pick(
        Adam(model.parameters(), lr=0.1), fixed=SGD(model.parameters(), lr=0.01, momentum=0.9)
    )
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for rows_of_batch in torch.randperm(960, generator=trial.generator).split(32):
            loss = functional.mse_loss(model(x[rows_of_batch]), y[rows_of_batch])
            optimizer.zero_grad()
            loss.backward()
            if trial.fixed:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(x), y))


@case(
    "deepfd-58",
    source="vincenty2022/Averaging_Neural_Networks on GitHub at 53c5940 (ArabelaTso/DeepFD)",
    wrong="the rectified hidden layer is missing",
    mended="added",
    ported="1,200 steps",
)
def average_of_two(trial: Trial) -> Reached:
    """A mean of two numbers, which two linear layers can say as well."""
    x = torch.randint(0, 101, (3000, 2), generator=trial.generator) / 100
    y = x.mean(1)
    added = [nn.ReLU()] if trial.fixed else []
    model = nn.Sequential(
        dense(2, trial.pick(2, fixed=8)), *added, dense(trial.pick(2, fixed=8), 1)
    )
    network = Compiled(
        trial=trial, model=model, optimizer=rmsprop(model), loss_of=mean_squared_error
    )
    network.fit(x, y, epochs=4, batch_size=10)
    return Reached(error=unexplained(network.predict(x), y))
