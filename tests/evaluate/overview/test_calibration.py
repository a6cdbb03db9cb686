"""Calibration of stored evaluations with a planted truth."""

from pathlib import Path

import pytest
from judged_examples import judged_run
from synthetic import RunBuilder

from telemetry import Store
from telemetry.errors import UsageError
from telemetry.evaluate.overview.calibration import Calibration
from telemetry.evaluate.overview.overview import overview

N = 200


def calibrated(folder: Path, confidence: list[float], n_right: int) -> Calibration:
    right = [place < n_right for place in range(N)]
    judged_run(folder, "run", right, confidence=confidence)
    store = Store.open(folder)
    found = overview(store, store.select("run")).calibration
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("confidence", "n_right", "error", "words"),
    [
        (0.9, 180, 0.0, "about as right as it is sure"),
        (0.95, 120, 0.35, "too sure (on average 95 % sure, 60 % right)"),
        (0.55, 180, 0.35, "not sure enough"),
    ],
)
def test_a_model_is_as_right_as_it_is_sure_or_not(
    tmp_path: Path, confidence: float, n_right: int, error: float, words: str
) -> None:
    found = calibrated(tmp_path, [confidence] * N, n_right)
    assert found.error == pytest.approx(error, abs=1e-6)
    assert words in found.sentence


def test_errors_of_both_sides_do_not_cancel(tmp_path: Path) -> None:
    """The first half is right and half sure, the other wrong and half sure of another answer."""
    found = calibrated(tmp_path, [0.55] * 100 + [0.45] * 100, 100)
    assert found.error == pytest.approx(0.45)
    assert "right on average, but off by 45 points" in found.sentence


def test_without_an_evaluation_it_is_said_how_to_get_one(tmp_path: Path) -> None:
    RunBuilder(store=tmp_path, run="20260102-030405-plain0").losses([1.0]).write()
    store = Store.open(tmp_path)
    with pytest.raises(UsageError, match="has no evaluated examples"):
        overview(store, store.select("latest"))
