"""Run documents with values of any kind: every verb reads the run, and what is odd is not known."""

import json
from pathlib import Path

import pytest
from command_line import Telemetry
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import RunBuilder

from telemetry import json_values
from telemetry.cli.commands.show import read_summary
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.format.manifest import parse_manifest
from telemetry.format.runs import MANIFEST_NAME
from telemetry.json_values import Json
from telemetry.store.store import Store

HUGE, DEEP = 10**400, 2**70
RUN = "20260102-030405-aaaaaa"


def entry(**changes: object) -> dict[str, object]:
    return {"path": "steps/rank=0/x.parquet", "rank": 0, "schema": 1, "rows": 3, **changes}


ODD: dict[str, dict[str, object]] = {
    "huge numbers": {
        "total_steps": HUGE,
        "config": {"seed": HUGE, "lr": DEEP, "list": [HUGE]},
        "environment": {"numerics": HUGE, "packages": {"torch": DEEP}},
        "summary": {
            "steps": HUGE,
            "cadence": HUGE,
            "every": HUGE,
            "overhead_s": HUGE,
            "overhead_share": HUGE,
            "metrics": {"loss": {"last": HUGE, "best": DEEP, "best_step": HUGE}},
            "findings": {"error": 2**40, "warning": HUGE, "info": True},
        },
        "attempts": [{"attempt": 2**40, "start_step": HUGE}, {"attempt": 1, "last_step": -5}],
    },
    "a schema that is true": {"files": {"steps": [entry(schema=True), entry(schema=HUGE)]}},
    "rows that are true": {"files": {"steps": [entry(rows=True), 3, None], "metrics": 5}},
    "a plan that is a float": {"total_steps": 1e4},
    "a plan that is a text": {"total_steps": "inf"},
    "lists for objects": {"config": [1], "summary": [2], "environment": "x", "owner": [3]},
    "wrong texts": {"name": 3, "started": 4, "heartbeat": [], "ended": {}, "status": 9, "tags": 5},
    "ends of the calendar": {"started": "0001-01-01T00:00:00", "ended": "9999-12-31T23:59:59"},
}


@pytest.mark.parametrize("name", ODD)
def test_every_verb_reads_a_run_whose_document_is_odd(
    telemetry: Telemetry, store: Path, name: str
) -> None:
    for run in (RUN, "20260102-030406-bbbbbb"):
        builder = RunBuilder(store=store, run=run)
        path = builder.losses([2.0, 1.5, 1.0]).parameter("head.weight", shape=(2, 3), depth=0)
        document = path.write() / MANIFEST_NAME
        raw = json.loads(document.read_text("utf-8"))
        document.write_text(json.dumps({**raw, **ODD[name]}), "utf-8")
    verbs = (
        ("show", RUN),
        ("show", RUN, "--json"),
        ("runs", "--json"),
        ("runs",),
        ("diagnose", RUN),
        ("diff", "20260102-030406-bbbbbb", RUN),
        ("sweep", "*"),
        ("query", "SELECT run, steps, n_error FROM runs"),
        ("delete", RUN, "--yes", "--force"),
    )
    for words in verbs:
        done = telemetry(*words)
        assert done.code in {0, 1, 3}, (words, done.err)
        assert "defect" not in done.err
    assert [run.run for run in Store.open(store).runs()] == ["20260102-030406-bbbbbb"]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([HUGE, -HUGE, DEEP, 2**31, 2**63, -1])
    | st.floats()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from(["loss", "last", "steps"]), inner)
    ),
    max_leaves=8,
)
FIELDS = ("name", "project", "started", "heartbeat", "status", "ended", "tags", "config", "owner")
MORE = ("environment", "total_steps", "error", "attempts", "closed", "files", "summary", "extra")


@settings(max_examples=8)
@given(changes=st.dictionaries(st.sampled_from((*FIELDS, *MORE)), VALUES, min_size=1, max_size=6))
def test_a_run_can_be_shown_whatever_its_document_says(
    changes: dict[str, Json], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    path = RunBuilder(store=folder, run=RUN).losses([2.0, 1.0]).write()
    document = path / MANIFEST_NAME
    raw = json.loads(document.read_text("utf-8"))
    text = json.dumps({**raw, **changes})
    document.write_text(text, "utf-8")
    read_again = json_values.loads(text)
    assert isinstance(read_again, dict)
    assert parse_manifest(read_again, where="here").run == RUN
    store = Store.open(folder)
    summary = read_summary(store, RUN)
    assert json_values.dumps(summary.to_json())
    assert diagnose_run(store, store.select(RUN), detectors=["non_finite"]).state is not None
