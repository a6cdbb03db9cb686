from pathlib import Path

import pytest
from example_store import trained
from pictures import Pictures, build
from PIL import Image
from recorded import rows_of

from telemetry import Store, explain
from telemetry.errors import UsageError
from telemetry.explain.results.result import Result
from telemetry.requests.explain.dream import DreamSettings

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    """One result of every kind, of one model."""
    subject = explain.load(build(), dataset=Pictures())
    examples = subject.examples
    settings = DreamSettings(steps=2, limit=10)
    return {
        "input": explain.attribute(subject, example="p0", target="pred", method="occlusion"),
        "perturb": explain.perturb(subject, "p0", "brightness"),
        "coverage": explain.coverage(subject, examples, examples),
        "weights": explain.weights(subject, "1")[0],
        "features": explain.features(subject, "1"),
        "dream": explain.dream(subject, "output", ["0"], settings)[0],
    }


def test_every_result_has_an_answer_its_checks_and_a_page(results: dict[str, Result]) -> None:
    for verb, found in results.items():
        assert found.answer, verb
        assert found.ok == all(check.ok for check in found.checks)
        page = found.figure("html")
        assert page.startswith("<!DOCTYPE html>")
        assert ("data:image/png" in page) == (found.figure("png") is not None)


def test_an_attribution_has_its_values_target_and_score(results: dict[str, Result]) -> None:
    found = results["input"]
    assert found.values.shape == (1, 12, 12)
    assert found.target == found.prediction
    assert found.score.target_name == found.target


def test_what_is_drawn_is_drawn_in_both_ways(results: dict[str, Result]) -> None:
    drawn = {verb for verb, found in results.items() if found.figure("png")}
    assert drawn == {"input", "weights", "features", "dream", "perturb"}
    grid = results["dream"].figure("grid")
    assert grid is not None
    assert (len(grid), len(grid[0])) == (12, 12)
    assert results["perturb"].figure("grid") is None
    with pytest.raises(UsageError, match="choose png, grid, html"):
        results["dream"].figure("svg")


def test_a_result_is_kept_in_a_run_as_the_command_keeps_it(
    results: dict[str, Result], tmp_path: Path
) -> None:
    trained(tmp_path, "base", hours=0).write()
    run = Store.open(tmp_path).select("base")
    results["dream"].save(run)
    results["dream"].save(run.ref.path)  # what a run has stays
    (picture,) = (run.ref.path / "explain/images").iterdir()
    assert Image.open(picture).text["telemetry"] == picture.stem
    rows = rows_of(run.ref.path, "feature_visualizations")
    assert [row["kind"] for row in rows] == ["dream"]
    with pytest.raises(UsageError, match=r"not a run; the folder of a run contains run\.json"):
        results["dream"].save(tmp_path / "nothing")
