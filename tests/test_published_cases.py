"""The published bugs of benchmarks/published: each trains in both versions, and has an answer."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))  # scripts, which are no part of the package

CASES = import_module("published.registry").CASES
ANSWERS = import_module("published.answers").answers()
TRIAL = import_module("published.case").Trial
REACHED = import_module("published.case").Reached

pytestmark = [pytest.mark.torch, pytest.mark.no_cover]
STEPS = 2


@pytest.mark.parametrize("fixed", [False, True], ids=["wrong", "fixed"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings(
    "ignore:Using padding='same'",
    "ignore:Using a target size",
    "ignore:Detected call of `lr_sched",
    "ignore:None of the inputs have requires_grad",  # what a case is about
)
def test_a_case_trains_in_both_versions(name: str, *, fixed: bool) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert CASES[name].train(TRIAL(fixed=fixed, most_steps=STEPS)) is None
    finally:
        torch.set_num_threads(threads)


def test_each_case_has_an_answer_and_each_answer_a_case() -> None:
    assert set(ANSWERS) == set(CASES)


def test_accepted_detectors_exist() -> None:
    known = {entry.id for entry in import_module("telemetry.diagnose.detector").all_detectors()}
    told = {id_ for answer in ANSWERS.values() for id_ in (*answer.accepted, *answer.remains)}
    assert told <= known


def test_a_half_that_has_cases_has_those_of_all_kinds_of_evidence() -> None:
    """All cases are for tuning once they were reported, until new ones are written."""
    answers = import_module("published.answers")
    kinds = {(answers.half(answer), answer.evidence) for answer in ANSWERS.values()}
    halves = {half for half, _ in kinds}
    assert answers.Half.TUNING in halves
    assert len(kinds) == len(halves) * len(answers.Evidence)


def test_a_fault_hurts_by_five_points_or_a_fifth_or_what_is_not_finite() -> None:
    assert REACHED(share=0.89).hurts(REACHED(share=0.95))
    assert not REACHED(share=0.91).hurts(REACHED(share=0.95))
    assert REACHED(error=1.2).hurts(REACHED(error=1.0))
    assert not REACHED(error=1.1).hurts(REACHED(error=1.0))
    assert REACHED(error=float("nan")).hurts(REACHED(error=1.0))
    assert not REACHED(error=float("nan")).hurts(REACHED(error=float("nan")))
