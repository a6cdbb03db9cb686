"""A wheel built from this tree, held against the tree."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from check import ROOT, stage

BUILD = """
import os, sys
os.chdir(sys.argv[1])
from setuptools import build_meta
print(build_meta.build_wheel(sys.argv[2]))
"""


def copy_of_the_repository(target: Path) -> Path:
    target.mkdir()
    for name in ("telemetry", "cli", "schemas"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, target / name)
    (target / "README.md").touch()
    return target


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    source = copy_of_the_repository(tmp_path / "source")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(source), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    staged = stage(tmp_path / "stage", root=source)
    package = {
        path.relative_to(staged).as_posix()
        for path in (staged / "telemetry").rglob("*")
        if path.is_file()
    }
    assert names == package
