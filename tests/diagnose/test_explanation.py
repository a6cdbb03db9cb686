"""From a finding to the numbers behind it."""

from dataclasses import replace

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, stalled

from telemetry.diagnose.detector import Shown, all_detectors
from telemetry.diagnose.explanation import (
    all_series,
    chosen_finding,
    explanation,
    normal,
    shown_column,
)
from telemetry.diagnose.finding import Diagnosis, Finding, Severity, Suppressed
from telemetry.errors import UsageError
from telemetry.store.sessions.rows import SqlValue
from telemetry.store.store import Store

NAN = float("nan")
LOW_ROWS: list[dict[str, SqlValue]] = [
    {"step": step, "layer": layer, "grad_norm": value}
    for step, layer, value in [
        (0, "head", 1.0), (4, "head", 2.0), (0, "l1", 0.01), (4, "l1", 0.02),
        (0, "l0", 0.3), (4, "l0", 0.1), (4, "l0", 0.2), (8, "unseen", None),
    ]
]  # fmt: skip


def vanishing(run: Chain) -> Chain:
    run.losses(stalled(2.3, 120), every=4)
    for step in range(0, 120, 4):
        run.gradients(step, [4.0**-k for k in range(7, -1, -1)])
    return run


def test_layers_that_are_named_come_first_and_then_the_worst() -> None:
    series = all_series(LOW_ROWS, "grad_norm", ("l0",), low=True)
    assert [(s.name, s.named) for s in series] == [("l0", True), ("l1", False), ("head", False)]
    high = all_series(LOW_ROWS, "grad_norm", (), low=False)
    assert [s.name for s in high] == ["head", "l0", "l1"]


def test_of_several_rows_of_a_step_the_worst_counts() -> None:
    (low, *_) = all_series(LOW_ROWS, "grad_norm", ("l0",), low=True)
    assert low.steps.tolist() == [0, 4]
    assert low.values.tolist() == [0.3, 0.1]
    assert (low.worst, low.worst_step) == (0.1, 4)
    (high, *_) = all_series(LOW_ROWS, "grad_norm", ("l0",), low=False)
    assert high.values.tolist() == [0.3, 0.2]


def test_what_is_not_a_number_is_the_worst_and_a_layer_without_values_is_kept_if_named() -> None:
    rows = [*LOW_ROWS, {"step": 8, "layer": "head", "grad_norm": NAN}]
    series = all_series(rows, "grad_norm", ("unseen",), low=True)
    assert [s.name for s in series[:2]] == ["unseen", "head"]
    assert series[0].values.size == 0
    assert np.isnan(series[1].worst)
    assert series[1].worst_step == 8


def test_texts_that_differ_name_a_series() -> None:
    rows: list[dict[str, SqlValue]] = [
        {"step": 0, "layer": layer, "site": site, "phase": "train", "value": 1.0}
        for layer in ("", "l1")
        for site in ("relu#0", "output")
    ]
    names = {s.name for s in all_series(rows, "value", (), low=False)}
    assert names == {"the model relu#0", "the model output", "l1 relu#0", "l1 output"}
    alone = [{"step": 0, "loss": 1.0}]
    assert [s.name for s in all_series(alone, "loss", (), low=False)] == ["the run"]


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"step": 0, "rank": 1, "loss": 2.0, "lr": 0.1}, "loss"),
        ({"step": 0, "is_on": True, "loss": None, "lr": 0.1}, "lr"),
        ({"step": 0, "layer": "l0"}, ""),
    ],
)
def test_the_first_number_is_shown(row: dict[str, SqlValue], column: str) -> None:
    assert shown_column([row]) == column
    assert shown_column([]) == ""


def test_a_finding_is_explained_from_the_shards(chain: Chains) -> None:
    run = vanishing(chain(8))
    finding = found(diagnosed(run), "vanishing_gradient")
    store = Store.open(run.store)
    with store.session(store.runs()) as session:
        told = explanation(session, finding, place=1)
        empty = explanation(session, replace(finding, evidence={}))
    assert (told.column, told.n_rows, told.limit) == ("grad_norm", 240, None)
    assert told.low_is_worse
    assert told.series[0].name == f"{finding.layer}.weight"
    assert told.series[0].worst == pytest.approx(4.0**-7)
    assert (empty.column, empty.series, empty.n_rows, empty.sql) == ("", (), 0, "")


def test_the_limit_is_drawn_where_it_is_one_of_the_column(chain: Chains) -> None:
    run = chain(2).losses(stalled(2.3, 120))
    finding = found(diagnosed(run), "loss_not_decreasing")
    store = Store.open(run.store)
    with store.session(store.runs()) as session:
        told = explanation(session, finding)
        other = explanation(session, replace(finding, unit="bits"))
    assert told.limit == finding.threshold
    assert other.limit is None


@pytest.mark.parametrize("detector", all_detectors(), ids=[d.id for d in all_detectors()])
def test_what_is_normal_is_said_of_every_rule(detector: object) -> None:
    (known,) = (d for d in all_detectors() if d is detector)
    finding = Finding(
        detector=known.id, severity=Severity.INFO, message="m", advice="a", value=2.0,
        threshold=1.0, unit="bits",
    )  # fmt: skip
    assert "1 bits" in normal(known, finding)
    bare = replace(known, shown=Shown())
    assert normal(bare, finding) == "A healthy run stays below 1 bits."
    assert normal(bare, replace(finding, value=0.5)) == "A healthy run stays above 1 bits."
    assert known.title in normal(bare, replace(finding, threshold=None))


def test_findings_are_chosen_by_number_and_by_detector() -> None:
    first, second, third = (
        Finding(detector=name, severity=Severity.WARNING, message="m", advice="a")
        for name in ("dead_units", "loss_spike", "overfitting")
    )
    diagnosis = Diagnosis(
        findings=(first, second),
        passed=("update_ratio",),
        not_checked=(),
        state="learning",
        n_steps=1,
        n_samples=1,
        suppressed=(Suppressed(finding=third, reason="known", by="telemetry.toml"),),
    )
    assert chosen_finding(diagnosis, "2") == (second, 2)
    assert chosen_finding(diagnosis, "dead_units") == (first, 1)
    assert chosen_finding(diagnosis, "overfitting") == (third, None)
    for wanted, message in [
        ("0", "no finding 0 to explain; its findings are 1 dead_units, 2 loss_spike"),
        ("3", "no finding 3 to explain"),
        ("update_ratio", "update_ratio passed, so there is nothing to explain; its findings are 1"),
        ("schedule", "schedule was not checked"),
        ("dead_unit", "did you mean dead_units"),
        ("-1", "unknown"),
    ]:
        with pytest.raises(UsageError, match=message):
            chosen_finding(diagnosis, wanted)
    with pytest.raises(UsageError, match="the run has no findings"):
        chosen_finding(replace(diagnosis, findings=()), "1")
