"""Pairs whose difference is planted, and models that see nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from signs import COVER, SIDE, Bar, Signs
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import Inconclusive, UsageError
from telemetry.explain import reduce
from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.inputs.masks import components
from telemetry.explain.reduction.differences import Cells, differences_of
from telemetry.explain.reduction.result import Reduction
from telemetry.explain.reduction.token_edits import TokenEdits
from telemetry.requests.explain.reduce import ReduceSettings

pytestmark = pytest.mark.torch


@pytest.fixture
def subject() -> explain.Subject:
    return explain.load(Bar(), dataset=Signs())


def mask(found: Reduction, items: tuple[int, ...]) -> Tensor:
    assert isinstance(found.differences, Cells)
    return found.differences.mask(items)


def test_the_region_is_the_cover_and_the_repair_a_part_of_it(subject: explain.Subject) -> None:
    found = reduce(subject, "0", "1")
    assert (found.prediction, found.label) == ("other", "sign")
    truth = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    truth[COVER] = True
    assert torch.equal(mask(found, found.region), truth)
    assert found.repair is not None
    assert found.breaking is not None
    assert len(found.repair.items) == 2  # half of the bar
    assert len(found.breaking.items) == 3  # a quarter is left: too little
    for least in (found.repair, found.breaking):
        assert least.proven
        assert not (mask(found, least.items) & ~truth).any()
    assert components(mask(found, found.region)) == 1
    assert found.p_before < 0.5 < (found.p_after or 0)
    assert found.ok
    assert {check.name for check in found.checks} == {
        *("determinism", "local", "region_mends", "soft_edge")
    }
    assert found.calls < 400


def test_one_mode_is_searched_alone(subject: explain.Subject) -> None:
    only = reduce(subject, "0", "1", ReduceSettings(mode="break"))
    assert only.repair is None
    assert only.breaking is not None
    assert only.p_after is None
    assert reduce(subject, "0", "1", ReduceSettings(mode="repair")).breaking is None


def test_images_that_differ_everywhere_have_no_local_difference(subject: explain.Subject) -> None:
    found = reduce(subject, "0", "2", ReduceSettings(mode="repair"))
    failed = {check.name for check in found.checks if not check.ok}
    assert "local" in failed


def test_a_cause_that_no_cell_shows_alone_is_the_union_of_repairs() -> None:
    class Both(Bar):
        """Certain unless three quarters of the bar are bright: no cell alone moves it."""

        def forward(self, x: Tensor) -> Tensor:
            bright = (x[:, 0, COVER[0], COVER[1]].flatten(1) > 0.5).float().mean(1)
            score = 10 * (2 * (bright > 0.7).float() - 1)
            return torch.stack([-score, score], dim=1)

    found = reduce(explain.load(Both(), dataset=Signs()), "0", "1", ReduceSettings(mode="repair"))
    assert found.repair is not None
    assert set(found.repair.items) <= set(found.region)
    assert len(found.repair.items) == 3


def test_without_a_twin_cells_are_blurred() -> None:
    class Spotless(nn.Module):
        """A bright pixel anywhere makes it wrong."""

        def forward(self, x: Tensor) -> Tensor:
            score = 10 * (0.7 - x.flatten(1).amax(1))
            return torch.stack([score, -score], dim=1)

    class Spotted:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            image = torch.full((1, SIDE, SIDE), 0.3)
            image[0, 5, 11] = 1.0
            return image, 0

    subject = explain.load(Spotless(), dataset=Spotted())
    for right in (None, "mean"):
        found = reduce(subject, "0", right)
        assert found.repair is not None
        assert not found.twin.is_real
        assert found.breaking is None
        (item,) = found.repair.items
        assert isinstance(found.differences, Cells)
        assert found.differences.boxes[item] == (4, 10, 6, 12)


def test_what_no_blur_mends_is_told(subject: explain.Subject) -> None:
    with pytest.raises(Inconclusive, match="no set of cells corrects the answer when blurred"):
        reduce(subject, "0")


class Rows:
    """The label is whether the sum of the first three columns is positive; `leak` decides."""

    modality = "tabular"
    feature_names = ("a", "b", "c", "leak", "sex")
    classes = ("no", "yes")

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(6)
        self.rows = torch.randn(40, 5, generator=generator)
        self.rows[:, 3] = (self.rows[:, :3].sum(1) > 0).float() * 2 - 1
        self.labels = (self.rows[:, 3] > 0).long()
        self.rows[0, 3] *= -1

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.rows[index], self.labels[index]


class Leaky(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        score = 8 * x[:, 3] + x[:, :3].sum(1)
        return torch.stack([-score, score], dim=1)


def test_the_column_that_decides_is_the_only_edit() -> None:
    subject = explain.load(Leaky(), dataset=Rows())
    found = reduce(subject, "0")
    assert found.twin.is_nearest
    assert found.repair is not None
    (edit,) = found.differences.edits(found.repair.items)
    assert (edit.name, edit.before) == ("leak", float(Rows().rows[0, 3]))
    assert edit.after == -float(Rows().rows[0, 3])
    assert found.region == found.repair.items
    with pytest.raises(Inconclusive, match="both inputs are answered wrongly"):
        reduce(subject, "0", None, ReduceSettings(immutable=("leak",)))
    with pytest.raises(UsageError, match="--immutable height: no such column"):
        reduce(subject, "0", None, ReduceSettings(immutable=("height",)))


def test_of_two_columns_that_do_it_alone_the_stronger_is_named() -> None:
    class Either(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = x[:, 0] + 5 * x[:, 2] - 0.5
            return torch.stack([-score, score], dim=1)

    class Pair:
        modality = "tabular"
        feature_names = ("weak", "none", "strong")

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.full((3,), float(index)), 1

    found = reduce(explain.load(Either(), dataset=Pair()), "0", "1")
    assert found.repair is not None
    assert found.breaking is not None
    assert [edit.name for edit in found.differences.edits(found.repair.items)] == ["strong"]
    # Without the strong one the weak alone keeps the answer: both must go.
    assert [e.name for e in found.differences.edits(found.breaking.items)] == ["weak", "strong"]


class Prices:
    """The price is the sum of two columns; `odd` adds a hundred to the first."""

    modality = "tabular"
    feature_names = ("size", "rooms", "odd")

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(6)
        self.rows = torch.rand(12, 3, generator=generator)
        self.rows[:, 2] = 0.0
        self.rows[0, 2] = 1.0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, float]:
        return self.rows[index], float(self.rows[index, :2].sum())


def test_a_regression_is_mended_within_its_tolerance() -> None:
    class Price(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :2].sum(1) + 100 * x[:, 2]

    subject = explain.load(Price(), dataset=Prices())
    found = reduce(subject, "0", "nearest", ReduceSettings(tolerance=0.4))
    assert found.repair is not None
    assert [edit.name for edit in found.differences.edits(found.repair.items)] == ["odd"]
    assert (found.p_before, found.p_after) == (None, None)
    assert float(found.prediction) > 100
    with pytest.raises(Inconclusive, match=r"no other example of .* is answered correctly"):
        reduce(subject, "0", "nearest", ReduceSettings(tolerance=1e-4))


class Reader(nn.Module):
    """A text is positive when it holds token 7, whatever else it says."""

    def forward(self, tokens: Tensor) -> Tensor:
        score = 6 * (tokens == 7).any(1).float() - 3 + 0.1 * (tokens == 5).sum(1)
        return torch.stack([-score, score], dim=1)


class Texts:
    modality = "text"
    texts = ([3, 5, 2, 7, 8, 1], [3, 5, 2, 2, 8, 1, 9], [1, 1, 1, 1], [7, 7])
    labels = (0, 0, 0, 1)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor(self.texts[index]), self.labels[index]

    def tokens(self, values: Tensor) -> list[str]:
        return [f"word{token}" for token in values.tolist()]


@pytest.mark.parametrize("right", ["1", "nearest"])
def test_the_token_that_decides_is_the_only_edit(right: str) -> None:
    found = reduce(explain.load(Reader(), dataset=Texts()), "0", right)
    assert found.repair is not None
    (edit,) = found.differences.edits(found.repair.items)
    assert (edit.name, edit.before, edit.after) == ("token 3", "word7", "word2")
    assert found.twin.name.startswith("example ")


def test_all_edits_make_one_text_of_the_other() -> None:
    examples = ExampleSet(Texts(), "texts")
    generator = torch.Generator().manual_seed(8)
    for _ in range(50):
        lengths = torch.randint(1, 9, (2,), generator=generator).tolist()
        wrong, right = (torch.randint(0, 4, (n,), generator=generator) for n in lengths)
        if torch.equal(wrong, right):
            continue
        found = differences_of(wrong, right, examples)
        assert torch.equal(found.mixed(range(len(found))), right)
        assert torch.equal(found.mixed(()), wrong)
        assert isinstance(found, TokenEdits)
        before, after = found.told(range(len(found)))
        assert [word for word, _ in before] == examples.tokens(wrong)
        assert [word for word, _ in after] == examples.tokens(right)
        kept = [[word for word, is_changed in text if not is_changed] for text in (before, after)]
        assert kept[0] == kept[1]


def test_large_images_get_larger_cells() -> None:
    generator = torch.Generator().manual_seed(1)
    wrong, right = torch.rand(2, 3, 50, 70, generator=generator)
    examples = ExampleSet(Signs(), "signs")
    found = differences_of(wrong, right, examples)
    assert isinstance(found, Cells)
    assert found.side == 4
    assert len(found) == 13 * 18
    assert torch.equal(found.mixed(range(len(found))), right)
    assert found.boxes[:4] == ((0, 0, 4, 4), (0, 4, 4, 8), (4, 0, 8, 4), (4, 4, 8, 8))
    assert len(differences_of(wrong, right, examples, cell=10)) == 35


def test_a_pair_that_cannot_be_mixed_is_refused(subject: explain.Subject) -> None:
    with pytest.raises(Inconclusive, match="is answered correctly"):
        reduce(subject, "1", "0")
    with pytest.raises(Inconclusive, match="both inputs are answered wrongly"):
        reduce(subject, "0", "3")
    with pytest.raises(UsageError, match="--mode mend"):
        reduce(subject, "0", "1", ReduceSettings(mode="mend"))
    with pytest.raises(UsageError, match="--cell 17"):
        reduce(subject, "0", "1", ReduceSettings(cell=17))
    with pytest.raises(UsageError, match="both inputs are equal"):
        reduce(subject, "0", "0")
    columns = explain.load(Leaky(), dataset=Rows())
    with pytest.raises(UsageError, match="is not an image; use --right nearest"):
        reduce(columns, "0", "blur")


def test_a_random_model_is_told() -> None:
    class Restless(Bar):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 0.01 * torch.randn(len(x), 2)

    found = reduce(explain.load(Restless(), dataset=Signs()), "0", "1")
    assert "determinism" in {check.name for check in found.checks if not check.ok}


def test_an_image_of_a_file_is_reduced_once_its_class_is_said(
    subject: explain.Subject, tmp_path: Path
) -> None:
    path = tmp_path / "photo.npy"
    np.save(path, Signs().images[0].numpy())
    found = reduce(subject, str(path), "1", label="sign")
    expected = reduce(subject, "0", "1")
    assert found.file == "photo.npy"
    assert found.name == "photo.npy"
    assert expected.name.startswith("example ")
    assert (found.repair, found.region) == (expected.repair, expected.region)
    with pytest.raises(UsageError, match=r"photo.npy: set the true class with --label CLASS"):
        reduce(subject, str(path), "1")
    with pytest.raises(UsageError, match="there is no such file"):
        reduce(subject, str(tmp_path / "gone.npy"), "1", label="sign")
    with pytest.raises(UsageError, match="is only for --wrong FILE"):
        reduce(subject, "0", "1", label="sign")
    with pytest.raises(Inconclusive, match="is answered correctly"):
        reduce(subject, str(path), "1", label="other")


def test_stretches_of_a_signal_are_exchanged_whole() -> None:
    wrong, right = torch.zeros(2, 32), torch.zeros(2, 32)
    wrong[1, 10] = 8.0  # in the sixth of sixteen stretches
    right[0, 31] = 4.0
    found = differences_of(wrong, right, ExampleSet([(wrong, 0), (right, 1)], "signals"))
    assert len(found) == 2
    edits = found.edits([0, 1])
    assert [edit.name for edit in edits] == [
        "mean of channel 0, samples 30-31",
        "mean of channel 1, samples 10-11",
    ]
    assert [(edit.before, edit.after) for edit in edits] == [(0.0, 2.0), (4.0, 0.0)]
    mixed = found.mixed([1])
    assert float(mixed.abs().sum()) == 0.0
    assert torch.equal(found.mixed([0, 1]), right)
