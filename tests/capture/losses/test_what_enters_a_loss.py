"""What a loss is given: functions in a row, places of targets, terms, the cost of right answers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.store.sessions.rows import SqlValue
from telemetry.store.store import Store

pytestmark = pytest.mark.torch
N, N_IN, N_CLASSES, LENGTH = 24, 6, 5, 7
Loss = Callable[[Tensor, Tensor], Tensor]  # of scores (N, C), labels (N,)


def recorded(store: Path, model: nn.Module, loss: Callable[[], Tensor]) -> dict[str, SqlValue]:
    """The row of the first pair at the last of four steps."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with TelemetryCallback(model, optimizer, store=store, every=1, overhead_budget=None):
        for _ in range(4):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
    opened = Store.open(store)
    with opened.session(opened.runs()) as session:
        found = session.query("SELECT * FROM loss_graphs ORDER BY step, pair DESC", {})
        return dict(found.records()[-1])


def of_scores(
    store: Path, loss: Loss, *last: nn.Module, outputs: int = N_CLASSES
) -> dict[str, SqlValue]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(N_IN, 16), nn.ReLU(), nn.Linear(16, outputs), *last)
    inputs, labels = torch.randn(N, N_IN), torch.randint(0, outputs, (N,))
    labels[0] = outputs - 1
    return recorded(store, model, lambda: loss(model(inputs), labels))


def one_hot(labels: Tensor) -> Tensor:
    return functional.one_hot(labels, N_CLASSES).float()


def entropy(shares: Tensor, labels: Tensor) -> Tensor:
    return -(one_hot(labels) * torch.log(shares.clamp(1e-7, 1))).sum(1).mean()


def dice(shares: Tensor, labels: Tensor) -> Tensor:
    mask = one_hot(labels)
    both = (shares * mask).sum(0)
    return (1 - (2 * both + 1) / (shares.sum(0) + mask.sum(0) + 1)).mean()


def by_hand(scores: Tensor, labels: Tensor) -> Tensor:
    powers = scores.exp()
    return entropy(powers / powers.sum(1, keepdim=True), labels)


def sequences(scores: Tensor) -> Tensor:
    """Of (N, C) a batch of three sequences of eight for connectionist temporal classification."""
    frames = scores.reshape(8, 3, N_CLASSES)
    sizes = torch.full((3,), 8), torch.full((3,), 2)
    return functional.ctc_loss(frames, torch.ones(3, 2, dtype=torch.long), *sizes)


@pytest.mark.parametrize(
    ("loss", "last", "chains"),
    [
        (lambda s, y: entropy(s.softmax(1), y), (), ": linear softmax log"),
        (entropy, (nn.Softmax(1),), ": linear softmax log"),
        (lambda s, y: entropy(s.softmax(1), y), (nn.Softmax(1),), ": linear softmax softmax log"),
        (by_hand, (nn.Softmax(1),), ": linear softmax exp ratio; : linear softmax softmax log"),
        (entropy, (), ": linear log"),
        (dice, (), ": linear ratio"),
        (lambda s, y: dice(s.sigmoid(), y), (nn.Softmax(1),), ": linear softmax sigmoid ratio"),
        (lambda s, y: dice(s.pow(2), y), (), None),  # a sum of squares is never negative
        (lambda s, y: dice((s / 2).sigmoid(), y), (nn.Softmax(1),), ": linear softmax; : sigmoid"),
        (lambda s, _: (s.exp() - s).mean(), (nn.ReLU(),), ": linear relu exp"),
        (lambda s, _: sequences(s), (), ": linear ctc_loss"),
        (lambda s, _: sequences(s), (nn.LogSoftmax(1),), ": linear log_softmax ctc_loss"),
        (
            lambda s, y: functional.kl_div(s, 0.5 * one_hot(y) + 0.1, reduction="sum"),
            (nn.Softmax(1),),
            ": linear softmax kl_div",
        ),
        (lambda s, y: functional.cross_entropy(one_hot(y), s), (), ": linear target"),
    ],
)
def test_functions_in_a_row_are_named(
    tmp_path: Path, loss: Loss, last: tuple[nn.Module, ...], chains: str | None
) -> None:
    found = of_scores(tmp_path, loss, *last)["chains"]
    if chains is None:
        assert found is None
        return
    assert str(found).startswith(chains)


def test_a_linear_layer_without_a_bias_and_one_after_another_layout_are_linear(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    model = nn.Linear(N_IN, N_CLASSES, bias=False)
    inputs, labels = torch.randn(4, 6, N_IN), torch.randint(0, N_CLASSES, (24,))
    found = recorded(
        tmp_path, model, lambda: entropy(model(inputs).softmax(-1).flatten(0, 1), labels)
    )
    assert found["chains"] == ": linear softmax log"


@pytest.mark.parametrize(
    ("loss", "is_sign"),
    [
        (lambda f, y: (1 - y * f).clamp(min=0).mean(), True),
        (lambda f, y: functional.softplus(-y * f).mean(), True),
        (functional.soft_margin_loss, True),
        (lambda f, y: (functional.softplus(f) - y * f).mean(), False),  # binary cross-entropy
        (lambda f, y: (f.sigmoid() * y).mean(), False),
    ],
)
def test_targets_that_are_signs(
    tmp_path: Path,
    loss: Loss,
    is_sign: bool,  # noqa: FBT001
) -> None:
    found = of_scores(tmp_path, lambda f, y: loss(f[:, 0], (y % 2).float()))
    assert found["is_sign"] is is_sign


def language(
    store: Path, loss: Callable[[Tensor, Tensor], Tensor], text: Tensor
) -> dict[str, SqlValue]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(N_CLASSES, 8), nn.Linear(8, N_CLASSES))
    return recorded(store, model, lambda: loss(model(text), text))


def padded_text() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(1, N_CLASSES, (N, LENGTH), generator=generator)
    lengths = torch.randint(1, LENGTH + 1, (N, 1), generator=generator)
    return torch.where(torch.arange(LENGTH) < lengths, text, 0)


def flat(scores: Tensor, text: Tensor) -> Tensor:
    return functional.cross_entropy(scores.flatten(0, 1), text.flatten())


def without(index: int) -> Loss:
    return lambda scores, text: functional.cross_entropy(
        scores.flatten(0, 1), text.flatten(), ignore_index=index
    )


def masked(scores: Tensor, text: Tensor) -> Tensor:
    each = functional.cross_entropy(scores.transpose(1, 2), text, reduction="none")
    return (each * (text > 0)).sum() / (text > 0).sum()


@pytest.mark.parametrize(
    ("loss", "change", "index"),
    [
        (flat, lambda text: text, 0),
        (flat, lambda text: text.flip(1), 0),  # at the beginning
        (
            lambda s, t: functional.cross_entropy(s.transpose(1, 2), t, reduction="none").mean(),
            lambda text: text,
            0,
        ),
        (without(0), lambda text: text, None),
        (masked, lambda text: text, None),
        (flat, lambda text: text.sort(1).values.repeat_interleave(4, 1), None),  # phases
        (flat, lambda text: text[:, torch.randperm(LENGTH)], None),
    ],
)
def test_padding_that_counts(
    tmp_path: Path, loss: Loss, change: Callable[[Tensor], Tensor], index: int | None
) -> None:
    torch.manual_seed(1)
    text = change(padded_text())
    found = language(tmp_path, loss, text)
    assert found["padding_index"] == index
    if index is not None:
        assert found["ignored_share"] == 0
        assert found["padding_share"] == pytest.approx(float((text == 0).float().mean()))


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        (flat, None),
        (
            lambda s, t: functional.cross_entropy(s.reshape(-1, N_CLASSES), t.T.reshape(-1)),
            "transposed",
        ),
        (
            lambda s, t: functional.cross_entropy(
                s.transpose(0, 1).contiguous().view(-1, N_CLASSES), t.T.reshape(-1)
            ),
            None,
        ),
    ],
)
def test_the_order_of_sequences(tmp_path: Path, loss: Loss, kind: str | None) -> None:
    assert language(tmp_path, loss, padded_text())["misaligned"] == kind


def test_outputs_over_time_and_batch_meet_targets_over_batch_and_time(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(N_CLASSES, 8), nn.Linear(8, N_CLASSES))
    text = padded_text()
    wrong = recorded(tmp_path / "wrong", model, lambda: flat(model(text.T), text))
    right = recorded(tmp_path / "right", model, lambda: flat(model(text.T), text.T))
    assert (wrong["misaligned"], right["misaligned"]) == ("transposed", None)


@pytest.mark.parametrize("is_torn", [True, False])
def test_a_view_that_tears_the_scores_of_a_place_apart(
    tmp_path: Path,
    is_torn: bool,  # noqa: FBT001
) -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(1, 3, 1)
    images, labels = torch.randn(4, 1, 5, 5), torch.randint(0, 3, (4, 5, 5))

    def loss() -> Tensor:
        scores = model(images)
        rows = scores.view(-1, 3) if is_torn else scores.permute(0, 2, 3, 1).reshape(-1, 3)
        return functional.cross_entropy(rows, labels.view(-1))

    assert recorded(tmp_path, model, loss)["misaligned"] == ("split" if is_torn else None)


@pytest.mark.parametrize(
    ("loss", "is_other"),
    [
        (lambda s, y: -s.softmax(0)[range(N), y].log().mean(), True),
        (lambda s, y: -s.softmax(1)[range(N), y].log().mean(), False),
        (lambda s, y: -(one_hot(y) * s.log_softmax(0)).sum(1).mean(), True),
        (lambda s, y: -(one_hot(y) * s.log_softmax(1)).sum(1).mean(), False),
        (lambda s, _: (s.softmax(1) * torch.rand(N, N_CLASSES)).mean(), False),
    ],
)
def test_a_softmax_over_another_dimension(
    tmp_path: Path,
    loss: Loss,
    is_other: bool,  # noqa: FBT001
) -> None:
    assert of_scores(tmp_path, loss)["is_other_axis"] is is_other


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both, self.decode = nn.Linear(N_IN, 4), nn.Linear(2, N_IN)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.both(inputs).chunk(2, -1)
        return self.decode(mean), mean, log_variance


def test_terms_that_read_targets_and_others(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, inputs = Variational(), torch.randn(N, N_IN)
    parts: list[tuple[float, ...]] = []

    def loss() -> Tensor:
        rebuilt, mean, log_variance = model(inputs)
        data = (rebuilt - inputs).square().sum(1)
        apart = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1)
        weights = torch.stack([p.square().sum() for p in model.parameters()]).sum()
        found = (data.mean(), 3 * apart.mean(), 0.1 * weights)
        parts.append(tuple(float(part.detach()) for part in found))
        return (data + 3 * apart).mean() + 0.1 * weights

    found = recorded(tmp_path, model, loss)
    data, apart, weights = parts[-1]
    assert found["n_terms"] == 3
    assert found["target_part"] == pytest.approx(data, rel=1e-4)
    assert found["free_part"] == pytest.approx(apart + weights, rel=1e-4)
    assert found["penalty_part"] == pytest.approx(weights, rel=1e-4)
    variance = float(inputs.var(0, correction=0).sum())
    assert found["target_part_constant"] == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize(
    "loss",
    [
        entropy,  # of one kind
        # A likelihood: the variance is in both.
        lambda s, y: ((s[:, 0] - y) ** 2 / s[:, 1].exp() + s[:, 1]).mean(),
        lambda s, y: functional.cross_entropy(s, y) + (s.softmax(1) * s.log_softmax(1)).sum(),
    ],
)
def test_losses_whose_terms_are_not_told_apart(tmp_path: Path, loss: Loss) -> None:
    last = [nn.Softmax(1)] if loss is entropy else []
    assert of_scores(tmp_path, loss, *last)["n_terms"] is None


@pytest.mark.parametrize(
    ("loss", "is_backwards"),
    [
        (functional.cross_entropy, False),
        (lambda s, y: -functional.cross_entropy(s, y), True),
        (lambda s, y: dice(s.softmax(1), y), False),
        (lambda s, y: 1 - dice(s.softmax(1), y), True),
        (lambda s, y: functional.mse_loss(s, one_hot(y)), False),
        (lambda s, y: -(torch.log(s.softmax(1) + 1e-7) * one_hot(y)).sum(1).mean(), False),
        (lambda s, y: (torch.log(s.softmax(1) + 1e-7) * one_hot(y)).sum(1).mean(), True),
        (lambda s, y: functional.binary_cross_entropy_with_logits(s, one_hot(y)), False),
    ],
)
def test_right_answers_cost_less_than_none(
    tmp_path: Path,
    loss: Loss,
    is_backwards: bool,  # noqa: FBT001
) -> None:
    found = of_scores(tmp_path, loss)
    right, blank = found["right_loss"], found["blank_loss"]
    assert isinstance(right, float)
    assert isinstance(blank, float)
    assert (right > blank) is is_backwards
    assert is_backwards or right < 0.2 * blank


def test_no_right_answer_is_known_where_examples_have_weights_of_either_sign(
    tmp_path: Path,
) -> None:
    """As of actions and their advantages."""
    advantage = torch.linspace(-1, 1, N)

    def loss(scores: Tensor, actions: Tensor) -> Tensor:
        chosen = scores.log_softmax(1).gather(1, actions[:, None])[:, 0]
        return -(chosen * advantage).mean()

    assert of_scores(tmp_path, loss)["right_loss"] is None


@pytest.mark.parametrize(
    ("loss", "is_zero"),
    [
        (lambda a, b: (a - b).square().mean(), True),
        (lambda a, b: 1 - functional.cosine_similarity(a, b).mean(), True),
        (
            lambda a, b: functional.relu((a - b).square() - (a - a.flip(0)).square() + 1).mean(),
            False,
        ),
    ],
)
def test_losses_that_any_constant_answer_makes_zero(
    tmp_path: Path,
    loss: Loss,
    is_zero: bool,  # noqa: FBT001
) -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(N_IN, 8), torch.randn(N, N_IN)
    found = recorded(tmp_path / "own", model, lambda: loss(model(inputs), model(inputs + 0.1)))
    assert isinstance(found["any_constant_loss"], float)
    assert (abs(found["any_constant_loss"]) < 1e-5) is is_zero
    assert found["has_detached"] is False
    held = recorded(
        tmp_path / "held", model, lambda: loss(model(inputs), model(inputs + 0.1).detach())
    )
    assert held["has_detached"] is True


@pytest.mark.parametrize(("targets", "share"), [(one_hot, 0.0), (lambda y: 2 * one_hot(y), 1.0)])
def test_targets_that_do_not_add_up_to_one(
    tmp_path: Path, targets: Callable[[Tensor], Tensor], share: float
) -> None:
    found = of_scores(tmp_path, lambda s, y: functional.mse_loss(s.softmax(1), targets(y)))
    assert found["unequal_rows_share"] == share


def test_a_loss_that_takes_probabilities_alone_keeps_its_levels(tmp_path: Path) -> None:
    """No logarithm and no logit can be tried as its right answer."""

    def loss(shares: Tensor, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy(shares, one_hot(labels))

    found = of_scores(tmp_path, loss, nn.Sigmoid())
    assert isinstance(found["right_loss"], float)
    assert found["right_loss"] < 0.01
    assert isinstance(found["naive_loss"], float)
    assert found["naive_loss"] == pytest.approx(0.693, abs=1e-3)
