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
print(getattr(build_meta, sys.argv[3])(sys.argv[2]))
"""
START_FILE = "training_telemetry.pth"  # what Python runs at start lies beside the package


def copy_of_the_repository(target: Path) -> Path:
    target.mkdir()
    for name in ("telemetry", "cli", "schemas"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, target / name)
    (target / "README.md").touch()
    return target


def built(how: str, source: Path, folder: Path) -> dict[str, str]:
    """Texts of the files of a wheel, by name, without its metadata."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, str(source), str(folder), how],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return {
            name: archive.read(name).decode()
            for name in archive.namelist()
            if ".dist-info/" not in name
        }


def test_the_wheel_holds_the_package_and_its_start_file(tmp_path: Path) -> None:
    source = copy_of_the_repository(tmp_path / "source")
    names = set(built("build_wheel", source, tmp_path / "wheel"))
    staged = stage(tmp_path / "stage", root=source)
    package = {
        path.relative_to(staged).as_posix()
        for path in (staged / "telemetry").rglob("*")
        if path.is_file()
    }
    assert names == package | {START_FILE}


def test_an_editable_installation_has_the_start_file_after_its_link(tmp_path: Path) -> None:
    source = copy_of_the_repository(tmp_path / "source")
    files = built("build_editable", source, tmp_path / "wheel")
    links = sorted(name for name in files if name.endswith(".pth"))  # as Python goes through them
    assert links[-1] == START_FILE
    assert len(links) == 2
    assert files[START_FILE] == (source / "telemetry" / START_FILE).read_text("utf-8")
