"""The built wheel: one package in site-packages, and everything that is read at run time."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from check import ROOT, stage

BUILD = """
import os, sys
os.chdir(sys.argv[1])
from setuptools import build_meta
print(build_meta.build_wheel(sys.argv[2]))
"""


def copy_of_the_repository(target: Path) -> Path:
    import shutil

    target.mkdir()
    for name in ("telemetry", "cli", "schemas"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, target / name)
    (target / "README.md").touch()
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_of_the_repository(folder / "source")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(source), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return archive.namelist()


def test_only_telemetry_lands_in_site_packages(wheel: list[str]) -> None:
    top = {name.partition("/")[0] for name in wheel}
    assert {name for name in top if not name.endswith(".dist-info")} == {"telemetry"}


def test_the_wheel_holds_every_file_of_the_package(wheel: list[str], tmp_path: Path) -> None:
    staged = stage(tmp_path / "stage")
    expected = {
        path.relative_to(staged).as_posix()
        for path in (staged / "telemetry").rglob("*")
        if path.is_file()
    }
    assert expected - set(wheel) == set()
