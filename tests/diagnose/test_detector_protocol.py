import ast
import inspect
import re
import sys
from pathlib import Path

import pytest
import sqlglot
from sqlglot import expressions as exp

from telemetry.diagnose import rules as package
from telemetry.diagnose.detector import SHARE, Detector, all_detectors, find_detector
from telemetry.diagnose.finding import Severity
from telemetry.diagnose.policy_file import CAP, SWITCH
from telemetry.errors import UsageError

DETECTORS = all_detectors()
FOLDER = Path(*package.__path__)
NAMED = pytest.mark.parametrize("detector", DETECTORS, ids=[d.id for d in DETECTORS])


def source_of(detector: Detector) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[detector.judge.__module__]))


def test_every_file_is_one_detector_of_its_name() -> None:
    names = [p.stem for p in FOLDER.glob("*/*.py") if p.stem != "__init__"]
    assert [d.id for d in DETECTORS] == sorted(names)
    assert list(FOLDER.glob("*.py")) == [FOLDER / "__init__.py"]


def test_a_rule_is_named_by_itself_and_in_what_other_rules_declare() -> None:
    """A list of names elsewhere would have to be edited for a new rule."""
    columns = {"update_ratio"}
    ids = {detector.id for detector in DETECTORS} - columns
    for path in FOLDER.parent.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        declared = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.keyword) and node.arg in {"causes", "caused_by"}
            for name in ast.walk(node.value)
        }
        named = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node not in declared
        }
        assert named & ids <= {path.stem}, path


@NAMED
def test_the_docstring_is_a_documentation_page(detector: Detector) -> None:
    for section in ("Symptom: ", "Fix: ", "Not flagged: ", "Source: "):
        assert f"\n{section}" in detector.doc or f"\n\n{section}" in detector.doc, section
    assert detector.title
    assert detector.advice.endswith(".")
    assert detector.source


@NAMED
def test_the_statement_is_one_ordered_portable_select(detector: Detector) -> None:
    assert len(detector.sql.strip().splitlines()) <= 40
    (statement,) = sqlglot.parse(detector.sql, read="duckdb")
    assert isinstance(statement, exp.Query)
    assert statement.args.get("order") is not None
    assert not list(statement.find_all(exp.Star)) or "COUNT(*)" in detector.sql
    sqlglot.transpile(
        detector.sql, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE
    )


@NAMED
def test_a_statement_that_needs_numbers_alone_reads_those_that_rules_share(
    detector: Detector,
) -> None:
    tree = sqlglot.parse_one(detector.sql, read="duckdb")
    whole = {table.name for table in tree.find_all(exp.Table)} & {"module_rows", "tensor_rows"}
    blobs = {column.name for column in tree.find_all(exp.Column)} & {"dead", "hist", "profile"}
    assert blobs or not whole


@NAMED
def test_every_value_of_the_statement_is_a_named_parameter(detector: Detector) -> None:
    used = set(re.findall(r"\$(\w+)", detector.sql))
    assert "run" in used
    assert used - {"run"} <= set(detector.parameters)
    bound = detector.bound("some-run", detector.parameters)
    assert set(bound) == used
    assert bound["run"] == "some-run"


@NAMED
def test_limits_are_numbers_that_can_be_overridden_by_name(detector: Detector) -> None:
    assert detector.limits({}) == dict(detector.parameters)
    for name, value in detector.parameters.items():
        assert detector.allowed(name).holds(value), name
        other = 1 if detector.allowed(name) is SHARE else 7
        assert detector.limits({name: other})[name] == other
        for senseless in (0, -1, float("nan"), float("inf")):
            with pytest.raises(UsageError, match=rf"{name} = .*: write a"):
                detector.limits({name: senseless})
    assert set(detector.shares) <= set(detector.parameters)
    assert not {SWITCH, CAP} & set(detector.parameters)
    with pytest.raises(UsageError, match="has no parameter 'nonsense'"):
        detector.limits({"nonsense": 1.0})


@NAMED
def test_it_says_what_is_normal(detector: Detector) -> None:
    assert detector.shown.normal.endswith(".")


@NAMED
def test_a_rule_reads_its_parameters_and_not_their_defaults(detector: Detector) -> None:
    """A default that a function names would stay what it is when a settings file changes it."""
    tree = source_of(detector)
    (parameters,) = (
        keyword.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Detector"
        for keyword in node.keywords
        if keyword.arg == "parameters"
    )
    assert isinstance(parameters, ast.Dict)
    defaults = {value.id for value in parameters.values if isinstance(value, ast.Name)}
    used = {
        (node.id, node.lineno)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and node.id in defaults
    }
    assert used == set()


@NAMED
def test_a_tag_softens_the_rules_that_read_it_and_no_others(detector: Detector) -> None:
    read = {
        node.attr
        for function in ast.walk(source_of(detector))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Tag"
    }
    assert read == {tag.name for tag in detector.softened_by}


@NAMED
def test_severity_and_needs_are_said(detector: Detector) -> None:
    assert detector.severity in Severity
    for need in detector.needs:
        assert "." in need
        assert need.remedy


def test_an_unknown_detector_is_refused_with_its_neighbours() -> None:
    with pytest.raises(UsageError, match="vanishing_gradient"):
        find_detector("vanishing_gradients")
    with pytest.raises(UsageError, match="'zz' is unknown; `telemetry detectors` lists them"):
        find_detector("zz")
    assert find_detector("dead_units").id == "dead_units"


def test_a_former_id_still_finds_its_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from telemetry.diagnose import detector as module

    renamed = replace(DETECTORS[0], id="new_name", aliases=("old_name",))
    monkeypatch.setattr(module, "all_detectors", lambda: (renamed,))
    assert find_detector("old_name").id == "new_name"
