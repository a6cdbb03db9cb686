"""The documentation says what the code does."""

import re
import tomllib
from pathlib import Path

import pytest
import update_docs

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", sorted(update_docs.PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    page = (ROOT / "docs" / name).read_text("utf-8")
    assert page == update_docs.PAGES[name](), "run python -m tests.update_docs"


def test_the_changelog_begins_with_the_version_that_is_installed() -> None:
    page = (ROOT / "docs" / "changelog.md").read_text("utf-8")
    versions = re.findall(r"^## (\S+)(?: \(unreleased\)|, [0-9-]{10})$", page, re.MULTILINE)
    assert versions, "a section is called `## 0.1.0 (unreleased)` or `## 0.1.0, 2026-01-31`"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert versions[0] == project["version"]


def test_decisions_are_numbered_without_a_gap_and_short() -> None:
    paths = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in paths] == list(range(1, len(paths) + 1))
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {name: n for name, n in lengths.items() if n > 40} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_named_in_a_page_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:docs|tests|examples|benchmarks|cli|schemas|telemetry|\.ci)/[\w./-]+)`",
        page.read_text("utf-8"),
    )
    assert [name for name in named if not (ROOT / name).exists()] == []
