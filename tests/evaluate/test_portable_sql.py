from importlib import import_module
from pkgutil import walk_packages

import pytest
import sqlglot

from telemetry import evaluate
from telemetry.evaluate.stored.explanation_tables import answers_sql
from telemetry.format.tables import table
from telemetry.requests.kinds import ExplainKind, explain_kinds
from telemetry.requests.models import ExplainRequest

STATEMENTS = [
    (f"{module.name}.{name}", text)
    for module in walk_packages(evaluate.__path__, "telemetry.evaluate.")
    for name, text in vars(import_module(module.name)).items()
    if name.endswith("_SQL")
]


@pytest.mark.parametrize(("name", "text"), STATEMENTS, ids=[name for name, _ in STATEMENTS])
def test_statements_are_ordered_explicit_and_run_on_spark(name: str, text: str) -> None:
    assert len(text.strip().splitlines()) <= 40, name
    parsed = sqlglot.parse_one(text, read="duckdb")
    assert isinstance(parsed, sqlglot.exp.Select)
    assert parsed.args.get("order") is not None
    assert not list(parsed.find_all(sqlglot.exp.Star)) or "COUNT(*)" in text
    unsupported = sqlglot.ErrorLevel.RAISE
    assert sqlglot.transpile(text, read="duckdb", write="spark", unsupported_level=unsupported)


@pytest.mark.parametrize("kind", explain_kinds(), ids=lambda kind: kind.name)
def test_stored_answers_are_read_by_every_column_that_is_not_left_out(
    kind: ExplainKind[ExplainRequest],
) -> None:
    text = answers_sql(kind)
    parsed = sqlglot.parse_one(text, read="duckdb")
    assert isinstance(parsed, sqlglot.exp.Select)
    assert parsed.args.get("order") is not None
    expected = {column.name for column in table(kind.table).columns} - kind.unread
    assert {*parsed.named_selects} == expected | {"project", "run"}
    unsupported = sqlglot.ErrorLevel.RAISE
    assert sqlglot.transpile(text, read="duckdb", write="spark", unsupported_level=unsupported)
