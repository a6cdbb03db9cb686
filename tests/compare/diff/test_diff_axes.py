from collections.abc import Sequence
from pathlib import Path

import pytest
from run_makers import builder, trained

from telemetry.compare.diff.diff import diff_runs
from telemetry.compare.terms import Axis, Direction, DirectionSource, Verdict
from telemetry.errors import UsageError
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

pytestmark = pytest.mark.usefixtures("undiagnosed")


def recorded(store: Path, index: int, *, batch: int, losses: Sequence[float]) -> Run:
    """A run whose loss depends on the samples seen; each step takes 20 ms."""
    built = builder(store, index, config={"seed": index, "batch": batch})
    for step, loss in enumerate(losses):
        built.add(
            "steps",
            step=step,
            loss=loss,
            samples=batch,
            elapsed_s=0.02 * (step + 1),
            flags=1,
        )
    built.metric("tokens", {len(losses) - 1: batch * len(losses) * 10.0}, phase="train")
    return load_run(built.write())


def falling(batch: int, n: int) -> list[float]:
    return [4.0 - batch * (step + 1) / 6_400 for step in range(n)]


def test_runs_of_other_batch_sizes_are_compared_after_equal_samples(tmp_path: Path) -> None:
    small = recorded(tmp_path, 0, batch=32, losses=falling(32, 200))
    large = recorded(tmp_path, 1, batch=64, losses=falling(64, 200))
    by_step = diff_runs(Store.open(tmp_path), small, large)
    assert by_step.metrics[0].candidate < by_step.metrics[0].base - 0.5
    by_samples = diff_runs(Store.open(tmp_path), small, large, axis=Axis.SAMPLES)
    loss = by_samples.metrics[0]
    assert (loss.step, loss.end) == (None, 6_400.0)
    assert loss.candidate == pytest.approx(loss.base, abs=0.01)
    assert any("ends at 6400 samples in the base" in warning for warning in by_samples.warnings)
    assert by_samples.to_json()["axis"] == "samples"


def test_time_and_tokens_are_axes_too(tmp_path: Path) -> None:
    runs = [recorded(tmp_path, i, batch=32, losses=falling(32, 100)) for i in range(2)]
    store = Store.open(tmp_path)
    ends = [diff_runs(store, *runs, axis=axis).metrics[0].end for axis in (Axis.TIME, Axis.TOKENS)]
    assert ends == [2.0, 32_000.0]
    with pytest.raises(UsageError, match="no tokens to compare by"):
        diff_runs(store, runs[0], trained(tmp_path, 7), axis=Axis.TOKENS)


def test_a_resumed_run_is_placed_by_what_it_did_in_all(tmp_path: Path) -> None:
    whole = recorded(tmp_path, 0, batch=32, losses=falling(32, 100))
    first = builder(tmp_path, 1)
    second = builder(tmp_path, 1)
    second.attempt = 2
    for built, steps, wait in ((first, range(60), 0.0), (second, range(40, 100), 0.4)):
        for step in steps:
            loss = falling(32, 100)[step]
            elapsed = 0.02 * (step + 1) + wait
            built.add("steps", step=step, loss=loss, samples=32, elapsed_s=elapsed, flags=1)
        path = built.write()
    found = diff_runs(Store.open(tmp_path), whole, load_run(path), axis=Axis.SAMPLES)
    assert found.metrics[0].end == 3_200.0
    assert found.verdict is Verdict.NO_CHANGE


def test_runs_of_equal_seeds_are_compared_in_pairs(tmp_path: Path) -> None:
    base = [trained(tmp_path, i, config={"lr": 0.1, "seed": i}) for i in range(4)]
    worse = [
        trained(tmp_path, 7 - i, seed=3 - i, shift=0.03, config={"lr": 0.2, "seed": 3 - i})
        for i in range(4)
    ]
    deciding = diff_runs(Store.open(tmp_path), base, worse).metrics[0]
    assert deciding.paired
    assert deciding.verdict is Verdict.REGRESSION
    assert "paired by seed" in deciding.reason
    assert deciding.change == pytest.approx(0.03 / deciding.base, rel=0.01)
    others = [trained(tmp_path, 8 + i, seed=i, shift=0.03) for i in range(4)]
    assert not diff_runs(Store.open(tmp_path), base, others).metrics[0].paired


def test_an_open_verdict_tells_what_the_runs_could_have_shown(tmp_path: Path) -> None:
    base = [trained(tmp_path, i) for i in range(3)]
    other = [trained(tmp_path, 3 + i) for i in range(3)]
    deciding = diff_runs(Store.open(tmp_path), base, other).metrics[0]
    assert deciding.verdict is Verdict.INCONCLUSIVE
    assert "with 3 runs per side a change of" in deciding.reason
    assert "would settle it" in deciding.reason
    assert deciding.detectable > 0.01
    assert 0.04 < deciding.p <= 1.0


def test_metrics_of_one_side_and_guessed_directions_are_told(tmp_path: Path) -> None:
    runs = []
    for index, names in enumerate((("gain", "val_f1"), ("gain",))):
        built = builder(tmp_path, index).losses([2.0 - s / 100 for s in range(100)])
        for name in names:
            built.metric(name, {s: s / 100 for s in range(0, 100, 10)})
        runs.append(load_run(built.write()))
    found = diff_runs(Store.open(tmp_path), *runs)
    assert "only the base recorded val_f1." in found.warnings
    sources = {metric.name: metric.direction_from for metric in found.metrics}
    assert sources == {"gain": DirectionSource.ASSUMED, "loss": DirectionSource.NAME}
    given = diff_runs(Store.open(tmp_path), *runs, directions={"gain": Direction.HIGHER})
    assert given.metrics[0].direction_from is DirectionSource.GIVEN
