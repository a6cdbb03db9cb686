"""Limits, caps, switched-off rules and suppressions of a diagnosis."""

from dataclasses import replace
from pathlib import Path

import pytest
from judged_runs import Chain, Chains, stalled

from telemetry.diagnose.__main__ import main
from telemetry.diagnose.diagnose import diagnose_run, ensure_findings, findings_of
from telemetry.diagnose.finding import Diagnosis, Finding, Severity
from telemetry.diagnose.policy import Policy, RunNames, Suppression
from telemetry.errors import UsageError
from telemetry.format.manifest import read_manifest
from telemetry.store.store import Store

ROOT, SYMPTOM = "vanishing_gradient", "loss_not_decreasing"
RUN = RunNames(names=("20260101-abcdef", "abcdef", "base", "demo/base"), tags=("pr-12",))
DEAD = Finding(
    detector="dead_units",
    severity=Severity.WARNING,
    message="m",
    advice="a",
    layer="encoder.3",
    layers=("encoder.3", "encoder.7"),
)
KNOWN = Suppression(detector="dead_units", reason="sparse by design", by="telemetry.toml")


def vanishing(run: Chain) -> Chain:
    run.losses(stalled(2.3, 120), every=4)
    for step in range(0, 120, 4):
        run.gradients(step, [4.0**-k for k in range(7, -1, -1)])
    return run


def judged(run: Chain, policy: Policy) -> Diagnosis:
    run.write()
    store = Store.open(run.store)
    return diagnose_run(store, store.select(run.run), policy=policy)


def accepted(detector: str, **places: str) -> Policy:
    return Policy(
        suppressions=(
            Suppression(detector=detector, reason="known", by="telemetry.toml", **places),
        )
    )


def test_a_suppressed_root_stays_the_cause_of_what_follows_from_it(chain: Chains) -> None:
    result = judged(vanishing(chain(8)), accepted(ROOT))
    assert [(f.detector, f.consequence_of) for f in result.findings] == [(SYMPTOM, ROOT)]
    (entry,) = result.suppressed
    assert (entry.finding.detector, entry.reason, entry.by) == (ROOT, "known", "telemetry.toml")
    assert entry.finding.consequence_of is None
    assert ROOT not in result.passed


def test_a_suppressed_consequence_leaves_the_root(chain: Chains) -> None:
    result = judged(vanishing(chain(8)), accepted(SYMPTOM))
    assert [f.detector for f in result.findings] == [ROOT]
    assert result.suppressed[0].finding.consequence_of == ROOT


def test_a_rule_that_is_switched_off_is_not_checked_and_says_by_whom(chain: Chains) -> None:
    result = judged(vanishing(chain(8)), Policy(disabled={ROOT: "telemetry.toml"}))
    assert [(f.detector, f.consequence_of) for f in result.findings] == [(SYMPTOM, None)]
    (entry,) = (n for n in result.not_checked if n.detector == ROOT)
    assert entry.reason == "switched off in telemetry.toml"


def test_a_cap_changes_the_severity_and_not_the_cause(chain: Chains) -> None:
    result = judged(vanishing(chain(8)), Policy(caps={ROOT: Severity.INFO}))
    assert [(f.detector, f.severity, f.consequence_of) for f in result.findings] == [
        (ROOT, Severity.INFO, None),
        (SYMPTOM, Severity.WARNING, ROOT),
    ]
    assert result.findings[0].evidence["severity_before_cap"] == "warning"


@pytest.mark.parametrize(
    "policy",
    [
        Policy(disabled={"dead_unit": "me"}),
        Policy(caps={"dead_unit": Severity.INFO}),
        accepted("dead_unit"),
        Policy(limits={"dead_unit": {}}),
    ],
)
def test_a_rule_that_does_not_exist_is_refused(chain: Chains, policy: Policy) -> None:
    with pytest.raises(UsageError, match="did you mean dead_units"):
        judged(chain(2), policy)


def test_a_cap_never_raises_a_severity() -> None:
    kept, _ = Policy(caps={"dead_units": Severity.ERROR}).settle([DEAD], RUN)
    assert kept == (DEAD,)


def test_what_is_capped_to_information_goes_last() -> None:
    other = replace(DEAD, detector="loss_spike")
    kept, _ = Policy(caps={"dead_units": Severity.INFO}).settle([DEAD, other], RUN)
    assert [f.detector for f in kept] == ["loss_spike", "dead_units"]


def test_a_capped_consequence_goes_behind_the_others_of_its_cause() -> None:
    followers = [replace(DEAD, detector=name, consequence_of="dead_units") for name in ("a", "b")]
    kept, _ = Policy(caps={"a": Severity.INFO}).settle([DEAD, *followers], RUN)
    assert [f.detector for f in kept] == ["dead_units", "b", "a"]


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"layer": "encoder.*"}, True),
        ({"layer": "encoder.3"}, False),  # encoder.7 is not accepted
        ({"layer": "decoder.*"}, False),
        ({"detector": "loss_spike"}, False),
        ({"run": "base"}, True),
        ({"run": "abcdef"}, True),
        ({"run": "demo/*"}, True),
        ({"run": "other"}, False),
        ({"tag": "PR-*"}, True),
        ({"tag": "main"}, False),
        ({"layer": "encoder.*", "tag": "main"}, False),
    ],
)
def test_a_suppression_fits_what_it_names(changes: dict[str, str], *, fits: bool) -> None:
    assert replace(KNOWN, **changes).fits(DEAD, RUN) is fits


def test_a_pattern_of_layers_never_fits_a_finding_about_the_run() -> None:
    about_the_run = replace(DEAD, layer=None, layers=())
    assert KNOWN.fits(about_the_run, RUN)
    assert not replace(KNOWN, layer="*").fits(about_the_run, RUN)


def test_another_policy_has_findings_of_its_own(chain: Chains) -> None:
    run = vanishing(chain(8))
    folder = run.write()
    store = Store.open(run.store)
    for policy, expected in [
        (Policy(), {"error": 0, "warning": 2, "info": 0}),
        (accepted(ROOT), {"error": 0, "warning": 1, "info": 0}),
        (Policy(), {"error": 0, "warning": 2, "info": 0}),  # kept, and shown again
    ]:
        ensure_findings(store, store.runs(), policy)
        assert read_manifest(folder).summary["findings"] == expected
    kept = findings_of(store, store.runs()[0], accepted(ROOT))
    assert [f.detector for f in kept] == [SYMPTOM]


def test_the_child_after_close_follows_the_file_of_the_folder_that_the_training_ran_in(
    chain: Chains, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = vanishing(chain(8)).write().resolve()
    monkeypatch.chdir(tmp_path)
    Path("telemetry.toml").write_text(f'[detectors.{ROOT}]\nseverity = "info"\n')
    assert main([str(folder), "--close"]) == 0
    assert read_manifest(folder).summary["findings"] == {"error": 0, "warning": 1, "info": 1}
    Path("telemetry.toml").write_text("[[[")
    assert main([str(folder), "--close"]) == 2


def test_parameters_of_a_frozen_tag_are_not_judged(chain: Chains) -> None:
    every = tuple(f"Frozen:l{index}" for index in range(5))
    for tags, expected in [(every, []), (("frozen:l[0-4].weight",), []), (("frozen:L*",), [ROOT])]:
        findings = judged(vanishing(chain(8, tags=tags)), Policy()).findings
        assert [f.detector for f in findings if f.detector == ROOT] == expected
