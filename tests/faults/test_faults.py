"""Real training, one fault each: the right cause is named first, and its healthy twin is silent."""

import importlib.util
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
import torch

from telemetry import TelemetryCallback
from telemetry.capture.data import loaders
from telemetry.capture.run.recording import Recording
from telemetry.diagnose.detector import all_detectors
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.explanation import explanation
from telemetry.diagnose.finding import Finding, Severity
from telemetry.store.store import Store

HERE = Path(__file__).parent
pytestmark = [pytest.mark.torch, pytest.mark.no_cover]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case of a detector's fixture.

    Attributes:
        detector: Whose fixture it is.
        root: The detector that is named first, or `none`: no warning and no error.
        info: One that tells, where the root is `none`.
        consequences: Detectors that are named as what the root led to.
    """

    detector: str
    name: str
    recipe: str
    seed: int
    root: str
    info: str | None
    consequences: tuple[str, ...]
    layers: tuple[str, ...]
    by: int | None
    change: dict[str, object] = field(default_factory=dict)

    @property
    def found(self) -> set[str]:
        """Detectors that the case demands."""
        return {self.root, self.info, *self.consequences} - {"none", None}

    def __str__(self) -> str:
        return f"{self.detector}-{self.name}-{self.seed}"


def cases() -> Iterator[Case]:
    for path in sorted(HERE.glob("*.toml")):
        for entry in tomllib.loads(path.read_text("utf-8"))["case"]:
            for seed in entry.get("seeds", [0]):
                yield Case(
                    detector=path.stem,
                    name=entry["name"],
                    recipe=entry["recipe"],
                    seed=seed,
                    root=entry["expect"]["root"],
                    info=entry["expect"].get("info"),
                    consequences=tuple(entry["expect"].get("consequences", ())),
                    layers=_layers(entry["expect"]),
                    by=entry["expect"].get("by"),
                    change=entry.get("change", {}),
                )


def _layers(expect: dict[str, object]) -> tuple[str, ...]:
    """`layer`, or `layers` where either of two neighbours is right."""
    several = expect.get("layers", [expect["layer"]] if "layer" in expect else [])
    assert isinstance(several, list)
    return tuple(str(layer) for layer in several)


def load(recipe: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(recipe, HERE / "recipes" / f"{recipe}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Clock:
    """Processor time of this thread, which a busy machine does not stretch, and what was slept."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    def __call__(self) -> float:
        return time.thread_time() + self.slept_s

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TelemetryCallback]:
    """Every fourth step is sampled unless a recipe asks for more, whatever the machine does."""
    clock = Clock()
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(loaders, "_clock", clock)
    monkeypatch.setitem(Recording.__init__.__kwdefaults__, "clock", clock)

    def make(
        model: torch.nn.Module, optimizer: torch.optim.Optimizer, *, every: int = 4
    ) -> TelemetryCallback:
        return TelemetryCallback(
            model, optimizer, store=tmp_path, every=every, overhead_budget=None
        )

    return make


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_the_cause_is_named(
    case: Case, record: Callable[..., TelemetryCallback], tmp_path: Path
) -> None:
    load(case.recipe).train(record, seed=case.seed, **case.change)
    store = Store.open(tmp_path)
    findings = diagnose_run(store, store.runs()[0]).findings
    check_evidence(store, findings)
    serious = [f for f in findings if f.severity is not Severity.INFO]
    if case.root == "none":
        assert not serious, [f.message for f in serious]
        told = {f.detector for f in findings} & {case.detector, case.info}
        assert told == case.found, [f.message for f in findings]
        return
    assert serious, "nothing was found"
    assert serious[0].detector == case.root, [(f.detector, f.message) for f in serious]
    assert serious[0].consequence_of is None
    assert all(f.consequence_of == case.root for f in serious[1:]), serious
    assert {f.detector for f in serious} >= case.found, serious
    if case.layers:
        assert serious[0].layer in case.layers
    if case.by is not None:
        assert serious[0].first_step is not None
        assert serious[0].first_step <= case.by


def check_evidence(store: Store, findings: tuple[Finding, ...]) -> None:
    """Each finding says of what it speaks, and names a statement that has rows and a number."""
    with store.session(store.runs()) as session:
        for finding in findings:
            assert "  " not in finding.message, "a layer without a name: the model itself"
            explained = explanation(session, finding)
            assert explained.n_rows, finding
            assert explained.column, finding
            assert explained.series, finding


def test_the_fixture_of_every_detector_demands_it_and_has_a_healthy_twin() -> None:
    known = list(cases())
    for detector in all_detectors():
        own = [case for case in known if case.detector == detector.id]
        assert any(detector.id in case.found for case in own), detector.id
        assert any(not case.found for case in own), detector.id


def test_no_fixture_demands_a_detector_that_is_not_there() -> None:
    ids = {detector.id for detector in all_detectors()}
    for case in cases():
        assert {case.detector, *case.found} <= ids, case
