from dataclasses import replace

import pytest

from telemetry.capture.isolation.guard import Guard
from telemetry.capture.live.alerts import LASTING_FACTOR, FindingNews, lasts
from telemetry.finding import Finding, Severity
from telemetry.format.live_findings import LiveFindings

BLOWS_UP = Finding(
    detector="learning_rate_too_high",
    severity=Severity.ERROR,
    message="the loss reached 4× its start",
    advice="Divide it by 8.",
    first_step=1,
)
FOLLOWS = Finding(
    detector="dead_units",
    severity=Severity.ERROR,
    message="no unit fires",
    advice="Lower it.",
    layer="net.2",
    first_step=9,
    consequence_of="learning_rate_too_high",
)


@pytest.fixture
def news() -> FindingNews:
    return FindingNews("abc123", "stop", Guard(strict=False, on_failure=lambda *_: None))


def post(news: FindingNews, *findings: Finding, n_steps: int = 100, exact: bool = True) -> None:
    names = frozenset(finding.detector for finding in findings) if exact else frozenset()
    news.post(LiveFindings(findings=findings, exact=names, n_steps=n_steps))


def waiting(news: FindingNews) -> list[tuple[str, Severity]]:
    found = [(finding.detector, finding.severity) for finding in news.waiting]
    news.waiting.clear()
    return found


def test_what_is_exact_is_news_at_once_and_once(news: FindingNews) -> None:
    post(news, BLOWS_UP)
    post(news, BLOWS_UP)
    assert waiting(news) == [("learning_rate_too_high", Severity.ERROR)]


def test_what_gets_worse_is_news_again_and_information_never(news: FindingNews) -> None:
    for severity in (Severity.INFO, Severity.WARNING, Severity.ERROR, Severity.WARNING):
        post(news, replace(BLOWS_UP, severity=severity))
    assert [severity for _, severity in waiting(news)] == [Severity.WARNING, Severity.ERROR]


def test_a_beginning_that_is_overcome_is_no_news(news: FindingNews) -> None:
    """As of a policy gradient that learns late: an error for half of the time it takes."""
    warning = replace(BLOWS_UP, severity=Severity.WARNING)
    post(news, warning, n_steps=40, exact=False)
    for n_steps in (60, 80, 100, 120):
        post(news, BLOWS_UP, n_steps=n_steps, exact=False)
    for n_steps in (150, 300):
        post(news, n_steps=n_steps, exact=False)
    assert waiting(news) == []


def test_one_that_lasts_is_news(news: FindingNews) -> None:
    for n_steps in (60, 120, 178):
        post(news, BLOWS_UP, n_steps=n_steps, exact=False)
        assert bool(news.waiting) == (n_steps == 178)


def test_one_that_comes_back_begins_anew(news: FindingNews) -> None:
    post(news, BLOWS_UP, n_steps=60, exact=False)
    post(news, n_steps=100, exact=False)
    post(news, BLOWS_UP, n_steps=200, exact=False)
    assert waiting(news) == []


def test_a_late_fault_need_not_outlast_the_training_before_it() -> None:
    late = replace(BLOWS_UP, first_step=10_000)
    assert not lasts(late, since=10_100, n_steps=10_299)
    assert lasts(late, since=10_100, n_steps=10_000 + LASTING_FACTOR * 100)
    assert not lasts(late, since=90, n_steps=300)  # its steps were not counted on


def test_the_reason_names_the_cause_and_its_advice(news: FindingNews) -> None:
    post(news, BLOWS_UP, FOLLOWS)
    assert news._text(FOLLOWS) == (
        "error dead_units in net.2 since step 9: no unit fires. It follows from error "
        "learning_rate_too_high since step 1: the loss reached 4× its start. Divide it by 8. "
        "More: telemetry diagnose abc123"
    )
