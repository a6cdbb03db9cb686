from collections.abc import Mapping
from pathlib import Path

import pytest
from synthetic import RunBuilder

from telemetry.cli.ui.filters import Wanted, chosen
from telemetry.errors import UsageError
from telemetry.format.manifest import Status
from telemetry.json_values import Json
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

FINDINGS: dict[str, Mapping[str, Json]] = {
    "good": {"error": 0, "warning": 0, "info": 2},
    "warned": {"error": 0, "warning": 3, "info": 0},
    "bad": {"error": 1, "warning": 0, "info": 0},
}


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    for letter, name, project in (
        ("a", "good", "vision"),
        ("b", "warned", "vision"),
        ("c", "bad", "text"),
        ("d", "new", "text"),
    ):
        builder = RunBuilder(
            tmp_path,
            run=f"20260102-030405-{letter * 6}",
            name=name,
            project=project,
            tags=("nightly",) if name == "bad" else (),
            config={"optimizer": "AdamW" if project == "text" else "SGD"},
        )
        builder.losses([1.0, 0.5]).write(status=Status.FAILED if name == "bad" else Status.FINISHED)
    return list(Store(tmp_path).runs())


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, "new bad warned good"),
        ({"project": "vision"}, "warned good"),
        ({"status": "failed"}, "bad"),
        ({"tag": "nightly"}, "bad"),
        ({"found": "error"}, "bad"),
        ({"found": "problem"}, "bad warned"),
        ({"found": "nothing"}, "good"),
        ({"found": "unknown"}, "new"),
        ({"text": "ADAM"}, "new bad"),
        ({"text": "vision/w"}, "warned"),
        ({"text": "nightly"}, "bad"),
        ({"text": "aaaaaa"}, "good"),
        ({"text": "nowhere"}, ""),
        ({"sort": "name"}, "bad good new warned"),
        ({"sort": "findings"}, "bad warned good new"),
        ({"sort": "optimizer", "found": "problem"}, "bad warned"),
        ({"project": "vision", "text": " good "}, "good"),
        ({"unheard": "of"}, "new bad warned good"),
    ],
)
def test_runs_that_meet_every_wish_are_listed(
    runs: list[Run], asked: dict[str, str], names: str
) -> None:
    found = chosen(runs, Wanted.of(asked), lambda run: FINDINGS.get(run.name))
    assert " ".join(run.name for run in found) == names


@pytest.mark.parametrize("asked", [{"status": "dead"}, {"found": "gold"}, {"sort": "beauty"}])
def test_a_wish_that_cannot_be_is_an_error(runs: list[Run], asked: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(asked.values()))):
        chosen(runs, Wanted.of(asked), lambda run: FINDINGS.get(run.name))
