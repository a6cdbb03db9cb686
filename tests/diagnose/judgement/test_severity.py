"""One table of size, certainty and harm."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

from telemetry.diagnose import rules
from telemetry.diagnose.judgement.harm import Harm
from telemetry.diagnose.judgement.severity import Size, exact, measured, statistical
from telemetry.finding import Severity


@pytest.mark.parametrize("harm", list(Harm))
def test_an_exact_fact_counts_whether_the_run_learns_or_not(harm: Harm) -> None:
    assert exact().severity(harm) is Severity.WARNING
    assert exact(Size.TOTAL).severity(harm) is Severity.ERROR


@pytest.mark.parametrize("size", list(Size))
def test_what_is_meant_is_information(size: Size) -> None:
    assert exact(size, meant=True).severity(Harm.FAILS) is Severity.INFO


def test_only_statistics_are_softened_by_a_run_that_learns() -> None:
    assert statistical().severity(Harm.FAILS) is Severity.WARNING
    assert statistical().severity(Harm.LITTLE) is Severity.WARNING
    assert statistical().severity(Harm.NONE) is Severity.INFO
    assert measured().severity(Harm.NONE) is Severity.WARNING


@pytest.mark.parametrize("kind", [exact, measured, statistical])
@pytest.mark.parametrize("harm", list(Harm))
def test_more_is_never_less_severe(kind: type, harm: Harm) -> None:
    ranks = [kind(size).severity(harm).rank for size in Size]
    assert all(later <= earlier for earlier, later in pairwise(ranks))


def test_no_rule_decides_its_own_severity() -> None:
    for path in Path(*rules.__path__).glob("*/*.py"):
        named = [
            node
            for function in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and node.id == "Severity"
        ]
        assert not named, path
