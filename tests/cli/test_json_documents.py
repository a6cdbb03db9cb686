"""Every verb's --json is a document whose schema is published; the verbs' own tests validate it."""

from pathlib import Path

from telemetry.cli import main

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "json"
WITHOUT = {"record"}  # it writes what the recorded script writes
BESIDE = {
    "baseline",
    "explanation",
    "views",
}  # export --baseline, diagnose --explain, query --schema


def test_every_verb_has_a_schema_that_its_own_test_validates() -> None:
    names = {path.stem for path in SCHEMAS.glob("*.json")}
    assert names == (set(main.modules()) - WITHOUT) | BESIDE
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name in sorted(names) if f'validated("{name}"' not in tests] == []
