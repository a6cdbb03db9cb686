"""Format, lint, types and import contracts: `python -m tests.check [--fix]`; tests run by pytest.

`cli/` and `schemas/` are installed as `telemetry.cli` and `telemetry.schemas` but lie elsewhere in
the repository, so tools that read files do not find them: mypy and lint-imports run on a copy in
`build/stage` that has the shape of the installed package.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "telemetry"
MOVED = ("cli", "schemas")
SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One tool: what it is run for, its command line, and the folder it runs in."""

    title: str
    command: tuple[str, ...]
    folder: Path


def stage(target: Path, *, root: Path = ROOT) -> Path:
    """A copy of the package as it is installed, with the settings of its tools; returns its folder.

    Args:
        target: A folder that is replaced.
        root: The repository.
    """
    shutil.rmtree(target, ignore_errors=True)
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(root / PACKAGE, target / PACKAGE, ignore=skipped)
    for name in MOVED:
        shutil.copytree(root / name, target / PACKAGE / name, ignore=skipped)
    shutil.copy2(root / "pyproject.toml", target / "pyproject.toml")
    return target


def checks(staged: Path, *, fix: bool) -> Iterator[Check]:
    """The tools in order, cheapest first."""
    ruff = str(SCRIPTS / "ruff")
    paths = tuple(
        name
        for name in (PACKAGE, *MOVED, "tests", "examples", "benchmarks", "docs")
        if (ROOT / name).is_dir()
    )
    yield Check(
        title="format",
        command=(ruff, "format", *(() if fix else ("--check",)), *paths),
        folder=ROOT,
    )
    yield Check(
        title="lint", command=(ruff, "check", *(("--fix",) if fix else ()), *paths), folder=ROOT
    )
    yield Check(
        title="types",
        command=(
            *(sys.executable, "-m", "mypy", "-p", PACKAGE),
            *("--cache-dir", str(staged.parent / "mypy")),
        ),
        folder=staged,
    )
    yield Check(title="contracts", command=(str(SCRIPTS / "lint-imports"),), folder=staged)


def main(arguments: list[str]) -> int:
    """Runs the tools and stops at the first that complains; returns its exit code."""
    unknown = [argument for argument in arguments if argument != "--fix"]
    if unknown:
        sys.stderr.write(f"unknown: {' '.join(unknown)}; usage: python -m tests.check [--fix]\n")
        return 2
    staged = stage(ROOT / "build" / "stage")
    for check in checks(staged, fix="--fix" in arguments):
        sys.stderr.write(f"--- {check.title}\n")
        code = subprocess.run(check.command, cwd=check.folder, check=False).returncode
        if code:
            sys.stderr.write(f"--- {check.title}: failed\n")
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
