"""A diagnosis that a run keeps is the one that was made, whole and in its order."""

from pathlib import Path

import pytest
from example_store import build_store
from judged_runs import Chain, stalled

from telemetry.diagnose import diagnose
from telemetry.diagnose.finding import Diagnosis
from telemetry.diagnose.policy_file import load_policy
from telemetry.json_values import dumps
from telemetry.store.store import Store

ACCEPTED = """
[[suppress]]
detector = "non_finite"
reason = "known"
"""


def told(diagnosis: Diagnosis) -> str:
    """Everything that is said of a run, to the last digit."""
    return dumps({**diagnosis.to_json(), **diagnosis.outcomes()})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("kept") / "runs")


@pytest.mark.parametrize("name", ["broken", "base", "nothing", "interrupted"])
def test_it_is_the_same_and_made_once(
    name: str, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(template)
    made = diagnose.diagnosis_of(store, store.select(name))
    asked: list[object] = []
    monkeypatch.setattr(diagnose, "diagnose_run", lambda *args, **_: asked.append(args))
    served = diagnose.diagnosis_of(store, store.select(name))
    assert asked == []
    assert told(served) == told(made)
    assert served.run is not None
    assert served.run.name == name
    assert [f.detector for f in diagnose.findings_of(store, store.select(name))] == [
        f.detector for f in made.findings
    ]


def test_what_a_policy_accepts_is_kept_with_its_reason(template: Path, tmp_path: Path) -> None:
    settings = tmp_path / "telemetry.toml"
    settings.write_text(ACCEPTED, "utf-8")
    store, policy = Store.open(template), load_policy(settings)
    plain = diagnose.diagnosis_of(store, store.select("broken"))
    made = diagnose.diagnosis_of(store, store.select("broken"), policy)
    assert made.findings != plain.findings
    assert [entry.reason for entry in made.suppressed] == ["known"]
    again = diagnose.diagnosis_of(store, store.select("broken"), policy)
    assert told(again) == told(made)
    assert told(diagnose.diagnosis_of(store, store.select("broken"))) == told(plain)


def test_causes_stay_before_what_they_lead_to(tmp_path: Path) -> None:
    run = Chain(tmp_path / "runs").layers(8)
    run.losses(stalled(2.3, 120), every=4)
    for step in range(0, 120, 4):
        run.gradients(step, [4.0**-depth for depth in range(7, -1, -1)])
    run.write()
    store = Store.open(tmp_path / "runs")
    made = diagnose.diagnosis_of(store, store.select("latest"))
    assert [one.detector for one in made.findings] == ["vanishing_gradient", "loss_not_decreasing"]
    assert told(diagnose.diagnosis_of(store, store.select("latest"))) == told(made)
    assert diagnose.findings_of(store, store.select("latest"))[0].detector == "vanishing_gradient"
