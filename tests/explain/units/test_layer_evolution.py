from dataclasses import replace
from pathlib import Path

import pytest
import torch
from explainable import Rows
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.models.subject import Subject, load
from telemetry.explain.units.features_answers import evolution_sentence
from telemetry.explain.units.layer_evolution import (
    Course,
    evolution,
    linear_cka,
    log_spaced,
    moments,
)

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cka_forgets_rotation_scale_and_shift_and_nothing_else() -> None:
    values, other = drawn(200, 5), drawn(200, 5, seed=1)
    rotation = torch.linalg.qr(drawn(5, 5, seed=2)).Q
    assert linear_cka(values, 3 * values @ rotation + 1) == pytest.approx(1, abs=1e-6)
    assert linear_cka(values, other) < 0.1
    stretched = values * torch.tensor([9.0, 1, 1, 1, 1])
    assert linear_cka(values, stretched) < 0.8


def test_cka_by_hand() -> None:
    """Gram matrices of (1, -1) and (2, -2) and of (1, -1, 0) and (1, 0, -1): 3 / (2 * 2)... ."""
    left, right = torch.tensor([[1.0], [-1], [0]]), torch.tensor([[1.0], [0], [-1]])
    assert linear_cka(left, right) == pytest.approx(0.25)
    assert linear_cka(torch.ones(3, 2), torch.zeros(3, 1)) == 1
    assert linear_cka(torch.ones(3, 2), left) == 0


STEPS = (0, 1, 4, 16, 64)


@pytest.mark.parametrize(
    ("changes", "settled"),
    [
        ((0.5, 0.4, 0.2, 0.04, 0.0), 16),
        ((0.5, 0.04, 0.2, 0.04, 0.0), 16),  # it has left again
        ((0.048, 0.04, 0.03, 0.02, 0.0), 64),  # close from the start, and yet not settled
        ((0.5, 0.049, 0.0, 0.0, 0.0), 1),
        ((0.0009, 0.0, 0.0, 0.0, 0.0), None),
        ((0.0, 0.5, 0.0, 0.0, 0.0), 64),
    ],
)
def test_a_layer_has_settled_within_a_tenth_of_its_first_distance(
    changes: tuple[float, ...], settled: int | None
) -> None:
    course = Course(layer="fc", changes=changes)
    assert course.settled(STEPS) == settled
    assert course.is_unchanged == (settled is None)


def test_many_checkpoints_are_thinned_over_the_logarithm_of_the_step() -> None:
    assert log_spaced([0, 5, 9]) == [0, 1, 2]
    places = log_spaced(list(range(1001)))
    assert places[0] == 0
    assert places[-1] == 1000
    assert len(places) <= 16
    assert sum(place < 100 for place in places) > 7


@pytest.fixture
def subject() -> Subject:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    return load(model, dataset=Rows())


def save(subject: Subject, folder: Path, shares: dict[int, float], *, steps: bool = True) -> None:
    """Checkpoints whose second layer has gone that share of its way; the first is frozen."""
    model = nn.Sequential(*subject.model.children())
    begin, end = model[2].weight.detach().clone(), drawn(6, 8, seed=7)
    for step, share in shares.items():
        with torch.no_grad():
            model[2].weight.copy_(begin + share * (end - begin))
        content = {"step": step, "model": model.state_dict()} if steps else model.state_dict()
        torch.save(content, folder / f"{step:03}.pt")
    with torch.no_grad():
        model[2].weight.copy_(begin)


SHARES = {0: 0.0, 4: 0.05, 16: 0.1, 32: 1.0, 64: 1.0}


def test_a_frozen_layer_is_unchanged_and_the_others_settle_where_planted(
    subject: Subject, tmp_path: Path
) -> None:
    save(subject, tmp_path, SHARES)
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    files = sorted(tmp_path.glob("*.pt"), reverse=True)
    evolved = evolution(subject, files)
    assert evolved.steps == tuple(SHARES)
    assert [course.layer for course in evolved.courses] == ["0", "2", "4"]
    assert [course.settled(evolved.steps) for course in evolved.courses] == [None, 32, 32]
    assert all(course.changes[-1] <= 1e-5 for course in evolved.courses)
    assert evolved.checks[0].ok
    assert evolution_sentence(evolved) == ("Of steps 0 to 64: 0 unchanged; 2, 4 settle at step 32.")
    late = [replace(c, changes=(*c.changes[:3], c.changes[0], 0.0)) for c in evolved.courses]
    assert evolution_sentence(replace(evolved, courses=tuple(late))).endswith(
        "2, 4 still change at the end."
    )
    now = subject.model.state_dict()
    assert all(torch.equal(before[name], value) for name, value in now.items())


def test_files_without_steps_are_numbered(subject: Subject, tmp_path: Path) -> None:
    save(subject, tmp_path, SHARES, steps=False)
    found, has_steps = moments(sorted(tmp_path.glob("*.pt")))
    assert not has_steps
    assert [moment.step for moment in found] == [0, 1, 2, 3, 4]


def test_too_few_checkpoints_are_refused(subject: Subject, tmp_path: Path) -> None:
    save(subject, tmp_path, {0: 0.0, 1: 1.0})
    with pytest.raises(UsageError, match="needs at least 3 checkpoints, found 2"):
        moments(sorted(tmp_path.glob("*.pt")))


def test_a_model_that_answers_at_random_fails_the_check(tmp_path: Path) -> None:
    class Random(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values + torch.empty_like(values).normal_(generator=self.generator)

    noise = Random()
    noise.generator = torch.Generator().manual_seed(0)  # type: ignore[assignment]
    subject = load(nn.Sequential(noise, nn.Linear(4, 2)), dataset=Rows())
    for step in range(3):
        torch.save({"step": step, "model": subject.model.state_dict()}, tmp_path / f"{step}.pt")
    evolved = evolution(subject, sorted(tmp_path.glob("*.pt")))
    assert not evolved.checks[0].ok
