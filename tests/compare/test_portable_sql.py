from importlib import import_module
from pkgutil import walk_packages

import pytest
import sqlglot

from telemetry import compare

STATEMENTS = [
    (f"{module.name}.{name}", text)
    for module in walk_packages(compare.__path__, "telemetry.compare.")
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
