"""Strangers' loops: how long steps are, and what is left of them."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LambdaLR

from published.case import Reached, Trial, case
from published.material import accuracy, batches, digits


@case(
    "pytorch-40497",
    source="https://github.com/pytorch/pytorch/issues/40497",
    wrong="Adam's epsilon of 1e-8 is 0 in half precision: steps are 0 / 0",
    mended="an epsilon that half precision has",
    ported="digits, weights in float16, Adam .001, an epsilon of 1e-4; softmax in float32",
)
def epsilon_of_nothing(trial: Trial) -> Reached:
    """Not a number where a gradient is zero."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).half()
    optimizer = Adam(model.parameters(), lr=1e-3, eps=trial.pick(1e-8, fixed=1e-4), foreach=False)
    telemetry = trial.record(model, optimizer)
    for _ in range(6):
        for x, y in batches(data.x.half(), data.y, 32, trial.generator):
            loss = functional.cross_entropy(model(x).float(), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x.half(), data.val_y))


class _Factors(nn.Module):
    """Biases and factors of users and items."""

    def __init__(self, users: int, items: int, rank: int) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(users, rank), nn.Embedding(items, rank)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        for part in (self.user, self.item):
            nn.init.normal_(part.weight, std=0.1)
        for part in (self.user_bias, self.item_bias):
            nn.init.zeros_(part.weight)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        score = (self.user(user) * self.item(item)).sum(-1)
        return score + self.user_bias(user).squeeze(-1) + self.item_bias(item).squeeze(-1)


def _taste(generator: torch.Generator) -> Tensor:
    """What 80 users think of 60 items."""
    return torch.randn(80, 3, generator=generator) @ torch.randn(3, 60, generator=generator)


@case(
    "fastfm-71",
    source="https://github.com/ibayer/fastFM/issues/71",
    wrong="l2_reg_V of .5 on the factors of pairwise ranking: the order of the items is not learnt",
    mended="less of it",
    ported="80 users, 60 items, rank 4; SGD, a penalty of .002; reached: share of right pairs",
)
def factors_are_pulled_to_zero(trial: Trial) -> Reached:
    """A penalty above the gradient."""
    taste = _taste(trial.generator)
    model = _Factors(80, 60, 4)
    optimizer = SGD(model.parameters(), lr=5.0)
    telemetry = trial.record(model, optimizer)
    weight = trial.pick(0.5, fixed=0.002)
    for _ in range(800):
        user = torch.randint(80, (64,), generator=trial.generator)
        one, two = torch.randint(60, (2, 64), generator=trial.generator)
        swap = taste[user, one] < taste[user, two]
        better, worse = torch.where(swap, two, one), torch.where(swap, one, two)
        apart = model(user, better) - model(user, worse)
        penalty = model.user(user).square().sum(-1) + model.item(better).square().sum(-1)
        penalty = penalty + model.item(worse).square().sum(-1)
        loss = -functional.logsigmoid(apart).mean() + weight * penalty.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    user = torch.arange(80)[:, None, None]
    with torch.no_grad():
        scores = model(user.squeeze(-1).expand(80, 60), torch.arange(60).expand(80, 60))
    told = scores[:, :, None] > scores[:, None, :]
    right = taste[:, :, None] > taste[:, None, :]
    off = ~torch.eye(60, dtype=torch.bool)
    return Reached(share=float((told == right)[:, off].float().mean()))


@case(
    "turi-recommender-8",
    source="https://github.com/turi-code/sample-movie-recommender/issues/8",
    wrong="the solver's rate decays so fast with the steps that ratings are hardly learnt",
    mended="a constant rate, as another library has it",
    ported="80 users, 60 items, rank 4; rate / (1 + t)^.75",
)
def rate_falls_at_once(trial: Trial) -> Reached:
    """After a hundred steps a thirtieth is left."""
    taste = _taste(trial.generator)
    rows = torch.cartesian_prod(torch.arange(80), torch.arange(60))
    rows = rows[torch.randperm(len(rows), generator=trial.generator)]
    ratings = taste[rows[:, 0], rows[:, 1]]
    model = _Factors(80, 60, 4)
    optimizer = SGD(model.parameters(), lr=1.0)
    power = trial.pick(0.75, fixed=0.0)
    scheduler = LambdaLR(optimizer, lambda step: (1 + step) ** -power)
    telemetry = trial.record(model, optimizer)
    for _ in range(15):
        for pair, rating in batches(rows[:4000], ratings[:4000], 64, trial.generator):
            loss = functional.mse_loss(model(pair[:, 0], pair[:, 1]), rating)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            telemetry.step(loss=loss)
        with torch.no_grad():
            held = model(rows[4000:, 0], rows[4000:, 1])
            telemetry.log(val_loss=functional.mse_loss(held, ratings[4000:]))
    with torch.no_grad():
        held = model(rows[4000:, 0], rows[4000:, 1])
        return Reached(error=float(functional.mse_loss(held, ratings[4000:])))


@case(
    "wekws-73",
    source="https://github.com/wenet-e2e/wekws/pull/73",
    wrong="in the executor optimizer.step() is called and optimizer.zero_grad() never",
    mended="zero_grad() before the backward pass",
    ported="eight tones in noise by a GRU, gradients clipped to 5, Adam",
)
def keywords_add_up(trial: Trial) -> Reached:
    """The direction of the whole past."""
    y = torch.randint(6, (800,), generator=trial.generator)
    time = torch.arange(20.0)
    wave = torch.sin((y[:, None] + 1) * 0.35 * time + torch.rand(800, 1, generator=trial.generator))
    x = wave[..., None] + 0.5 * torch.randn(800, 20, 3, generator=trial.generator)

    class _Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(3, 32, batch_first=True), nn.Linear(32, 6)

        def forward(self, sound: Tensor) -> Tensor:
            out: Tensor = self.head(self.gru(sound)[0].mean(1))
            return out

    model = _Keywords()
    optimizer = Adam(model.parameters(), lr=5e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(14):
        model.train()
        for sound, word in batches(x[:640], y[:640], 20, trial.generator):
            loss = functional.cross_entropy(model(sound), word)
            if trial.fixed:
                optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            telemetry.log(cv_loss=functional.cross_entropy(model(x[640:]), y[640:]))
    return Reached(share=accuracy(model, x[640:], y[640:]))
