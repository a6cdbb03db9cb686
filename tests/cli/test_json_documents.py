"""Every verb's --json is a document whose schema is published; the verbs' own tests validate it."""

from pathlib import Path

from telemetry.cli.verbs import modules

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "json"
# They write what the recorded script writes, and what the protocol of agents asks for.
WITHOUT = {"record", "mcp"}
BESIDE = {
    "baseline",
    "explanation",
    "home",
    "views",
}  # export --baseline, diagnose --details, telemetry alone, query --schema


def test_every_verb_has_a_schema_that_its_own_test_validates() -> None:
    names = {path.stem for path in SCHEMAS.glob("*.json")}
    assert names == (set(modules()) - WITHOUT) | BESIDE
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name in sorted(names) if f'validated("{name}"' not in tests] == []
