import tomllib
from pathlib import Path

import telemetry

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"telemetry": "telemetry", "telemetry.cli": "cli", "telemetry.schemas": "schemas"}
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_every_package_folder_is_packaged() -> None:
    folders = {
        ".".join([package, *path.parent.relative_to(ROOT / source).parts])
        for package, source in SOURCES.items()
        for path in (ROOT / source).rglob("__init__.py")
    }
    assert folders == set(METADATA["tool"]["setuptools"]["packages"])


def test_the_package_and_its_metadata_state_the_same_version() -> None:
    assert METADATA["project"]["version"] == telemetry.__version__


def test_the_demo_extra_brings_what_the_demo_imports() -> None:
    required = " ".join(METADATA["project"]["optional-dependencies"]["demo"])
    assert "torch" in required
    assert "scikit-learn" in required
