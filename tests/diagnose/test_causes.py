from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.diagnose.causes import CauseGraph, cause_graph, ordered
from telemetry.diagnose.detector import Detector, Mechanism, all_detectors
from telemetry.diagnose.finding import Finding, Severity

RANKS = {"non_finite": 0, "unchanged_parameters": 0}


def finding(detector: str, step: int = 0, severity: Severity = Severity.WARNING) -> Finding:
    return Finding(detector=detector, severity=severity, message="", advice="", first_step=step)


def arranged(*findings: Finding, period: int = 1) -> list[tuple[str, str | None]]:
    ranks = {f.detector: RANKS.get(f.detector, 1) for f in findings}
    return [
        (f.detector, f.consequence_of)
        for f in ordered(findings, cause_graph(), tier_ranks=ranks, period=period)
    ]


def test_a_root_is_followed_by_its_consequences() -> None:
    assert arranged(
        finding("dead_units", 30),
        finding("loss_not_decreasing", 99),
        finding("learning_rate_too_high", 0),
    ) == [
        ("learning_rate_too_high", None),
        ("dead_units", "learning_rate_too_high"),
        ("loss_not_decreasing", "learning_rate_too_high"),
    ]


def test_a_cause_does_not_come_after_its_effect() -> None:
    late = arranged(finding("learning_rate_too_high", 50), finding("dead_units", 7))
    assert [root for _, root in late] == [None, None]
    within = arranged(finding("learning_rate_too_high", 50), finding("dead_units", 45), period=5)
    assert ("dead_units", "learning_rate_too_high") in within


def test_the_root_is_named_not_the_step_between() -> None:
    assert arranged(
        finding("poor_initialization"), finding("exploding_gradient"), finding("non_finite", 5)
    )[1:] == [
        ("non_finite", "poor_initialization"),
        ("exploding_gradient", "poor_initialization"),
    ]


def test_an_ancestor_counts_when_what_lies_between_was_not_found() -> None:
    assert ("non_finite", "poor_initialization") in arranged(
        finding("poor_initialization"), finding("non_finite", 5)
    )


def test_information_causes_nothing() -> None:
    assert ("loss_not_decreasing", None) in arranged(
        finding("dead_units", severity=Severity.INFO), finding("loss_not_decreasing", 99)
    )


def test_a_loss_that_does_not_fall_is_a_root_only_alone() -> None:
    assert arranged(finding("loss_not_decreasing", 99)) == [("loss_not_decreasing", None)]
    assert ("loss_not_decreasing", "exploding_gradient") in arranged(
        finding("loss_not_decreasing", 99), finding("exploding_gradient", 150)
    )
    assert ("loss_not_decreasing", None) in arranged(
        finding("loss_not_decreasing", 99), finding("overfitting", 10)
    )


def test_a_symptom_follows_from_another_that_names_it() -> None:
    found = [finding("constant_predictor", 60), finding("loss_not_decreasing", 99)]
    assert arranged(*found) == [
        ("loss_not_decreasing", None),
        ("constant_predictor", "loss_not_decreasing"),
    ]
    assert arranged(*found, finding("output_head", 0))[0] == ("output_head", None)


def test_invariants_come_before_statistics_and_errors_before_warnings() -> None:
    order = arranged(
        finding("update_ratio"),
        finding("overfitting", severity=Severity.ERROR),
        finding("unchanged_parameters"),
        finding("loss_spike", severity=Severity.INFO),
    )
    assert [name for name, _ in order] == [
        "unchanged_parameters",
        "overfitting",
        "update_ratio",
        "loss_spike",
    ]


def declaring(name: str, **declared: tuple[str, ...]) -> Detector:
    """A rule of that name with neighbours of its own."""
    bare = {"causes": (), "caused_by": (), "acts_by": ()}
    return replace(all_detectors()[0], id=name, **{**bare, **declared})


def test_what_rules_declare_fits_together() -> None:
    graph = cause_graph()
    assert sorted(graph.reach) == [detector.id for detector in all_detectors()]
    assert all(cause not in reached for cause, reached in graph.reach.items())


def test_an_edge_is_declared_by_the_cause_or_by_the_effect() -> None:
    graph = CauseGraph.of(
        [declaring("a", causes=("b",)), declaring("b"), declaring("c", caused_by=("b",))]
    )
    assert graph.descendants("a") == {"b", "c"}
    assert graph.ancestors("c") == {"a", "b"}
    assert graph.descendants("unheard_of") == frozenset()


def test_a_rule_is_found_by_how_it_acts() -> None:
    graph = CauseGraph.of([declaring("a", acts_by=(Mechanism.GROWTH,)), declaring("b")])
    assert graph.acting_by(Mechanism.GROWTH) == {"a"}
    assert graph.acting_by(Mechanism.LONG_STEPS) == frozenset()


def test_a_neighbour_that_is_no_rule_is_refused_by_name() -> None:
    for declared in ({"causes": ("secnod",)}, {"caused_by": ("secnod",)}):
        with pytest.raises(ValueError, match=r"rule first: .*'secnod'.*did you mean second\?"):
            CauseGraph.of([declaring("first", **declared), declaring("second")])


def test_findings_that_would_cause_themselves_are_refused() -> None:
    circle = [declaring("a", causes=("b",)), declaring("b", causes=("c",))]
    with pytest.raises(ValueError, match=r"rules a, b, c: .* would cause itself"):
        CauseGraph.of([*circle, declaring("c", causes=("a",)), declaring("d", caused_by=("a",))])


def test_an_edge_that_both_ends_declare_is_refused() -> None:
    with pytest.raises(ValueError, match="that a causes b is declared twice"):
        CauseGraph.of([declaring("a", causes=("b",)), declaring("b", caused_by=("a",))])


names = st.sampled_from([detector.id for detector in all_detectors()])


@settings(deadline=None)
@given(
    st.dictionaries(names, st.tuples(st.integers(0, 200), st.sampled_from(list(Severity)))),
    st.integers(1, 50),
)
def test_no_finding_is_lost_and_every_root_is_one(
    found: dict[str, tuple[int, Severity]], period: int
) -> None:
    findings = [finding(name, step, severity) for name, (step, severity) in found.items()]
    result = ordered(findings, cause_graph(), tier_ranks={}, period=period)
    assert sorted(f.detector for f in result) == sorted(found)
    roots = {f.detector for f in result if f.consequence_of is None}
    assert all(f.consequence_of in roots for f in result if f.consequence_of)


def test_what_a_run_that_never_learned_shows_early_follows_from_that() -> None:
    early = finding("class_collapse", 20)
    found = arranged(finding("loss_not_decreasing", 99), early)
    assert found[1] == ("class_collapse", "loss_not_decreasing")


def test_a_cause_that_may_have_begun_before_it_was_seen_explains_what_came_before() -> None:
    late = replace(finding("dead_units", 64), earliest=30)
    assert ("loss_spike", "dead_units") in arranged(late, finding("loss_spike", 35))
    assert ("loss_spike", None) in arranged(finding("dead_units", 64), finding("loss_spike", 35))


def test_evidence_rules_causes_out_and_adds_effects() -> None:
    cause = finding("learning_rate_too_high", 0)
    own = replace(finding("non_finite", 5), rules_out=frozenset({"learning_rate_too_high"}))
    assert ("non_finite", None) in arranged(cause, own)
    moment = replace(
        finding("adam_second_moment", 5),
        rules_out=frozenset({"learning_rate_too_high"}),
        also_causes=frozenset({"learning_rate_too_high"}),
    )
    later = finding("learning_rate_too_high", 6)
    assert ("learning_rate_too_high", "adam_second_moment") in arranged(moment, later)
