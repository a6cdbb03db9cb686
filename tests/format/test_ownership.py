"""Whose run it is: what a signature proves, and what recording does where no key can be kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry.format.manifest import Manifest, read_manifest, write_manifest
from telemetry.format.ownership import doubt, key_path, signed
from telemetry.json_values import Json

SPEC: dict[str, Json] = {"model": "shop:build", "model_args": {"width": 3, "x": [1.5, None]}}
RUN, PROJECT = "20260102-030405-aaaaaa", "shop"
needs_modes = pytest.mark.skipif(os.name == "nt", reason="modes of files are those of POSIX")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration folder of a user who has no key yet."""
    monkeypatch.setenv("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", str(tmp_path / "own"))
    return tmp_path / "own" / "training-telemetry"


def why(document: dict[str, Json], *, run: str = RUN, project: str = PROJECT) -> str:
    return doubt(run, project, document) or ""


def test_what_this_user_has_signed_is_theirs_and_nothing_else() -> None:
    own = signed(RUN, PROJECT, SPEC)
    assert own["explain"] == SPEC
    assert doubt(RUN, PROJECT, own) is None
    assert doubt(RUN, PROJECT, {**own, "more": 1}) is None  # only the block is signed
    changed = "or run.json was changed by hand"
    assert changed in why({**own, "explain": {**SPEC, "model": "shutil:rmtree"}})
    assert changed in why({"explain_signature": own["explain_signature"]})
    assert changed in why(own, run="20260102-030405-bbbbbb")
    assert changed in why(own, project="other")
    assert changed in why({**own, "explain_signature": "ab\udc80é"})
    assert "by an older version" in why({"explain": SPEC})
    assert "by an older version" in why({"explain": SPEC, "explain_signature": 3})


def test_what_a_reader_of_the_file_has_is_what_was_signed(tmp_path: Path) -> None:
    """NaN becomes a text in the file, the order of keys is another, names of files may be bytes."""
    spec: dict[str, Json] = {"z": float("nan"), "checkpoint": "caf\udce9/*.pt", "a": (1, 2)}
    manifest = Manifest(
        run=RUN,
        project=PROJECT,
        name="n",
        started="",
        heartbeat="",
        extra=signed(RUN, PROJECT, spec),
    )
    write_manifest(tmp_path, manifest)
    found = read_manifest(tmp_path)
    assert found.extra["explain"] != spec
    assert doubt(found.run, found.project, found.extra) is None


def test_another_user_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = signed(RUN, PROJECT, SPEC)
    monkeypatch.setenv("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", str(tmp_path / "other"))
    assert "is missing" in why(own)
    assert doubt(RUN, PROJECT, signed(RUN, PROJECT, SPEC)) is None
    assert "not yours" in why(own)


@needs_modes
def test_the_key_is_the_users_alone_and_is_made_once(folder: Path) -> None:
    first = signed(RUN, PROJECT, SPEC)
    key = folder / "key"
    assert key_path() == key
    assert (key.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert len(bytes.fromhex(key.read_text("ascii"))) == 32
    assert signed(RUN, PROJECT, SPEC) == first
    assert [path.name for path in folder.iterdir()] == ["key"]


@needs_modes
@pytest.mark.parametrize("damage", ["open", "short", "text", "folder"])
def test_a_key_that_proves_nothing_signs_nothing_and_is_not_replaced(
    folder: Path, damage: str
) -> None:
    own = signed(RUN, PROJECT, SPEC)
    key = folder / "key"
    if damage == "open":
        key.chmod(0o644)
    elif damage == "folder":
        key.unlink()
        key.mkdir()
    else:
        key.write_bytes(b"abcd" if damage == "short" else b"\xff" * 64)
    before = None if damage == "folder" else key.read_bytes()
    assert f"your key {key} is missing, damaged, or readable by others" in why(own)
    assert signed(RUN, PROJECT, SPEC)["explain_signature"] is None
    assert (None if damage == "folder" else key.read_bytes()) == before


@needs_modes
def test_where_no_key_can_be_kept_there_is_no_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))  # no folder can be made there
    assert signed(RUN, PROJECT, SPEC) == {"explain": SPEC, "explain_signature": None}

    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # to be left out, says the standard

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert key_path() is None
    assert signed(RUN, PROJECT, SPEC)["explain_signature"] is None
    assert "is missing" in why({"explain": SPEC, "explain_signature": "ab"})


@needs_modes
def test_no_key_is_made_in_the_folder_of_another_user(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under sudo the home folder may be that of the user, who could not read a key of root."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert signed(RUN, PROJECT, SPEC)["explain_signature"] is None
    assert not folder.exists()


@needs_modes
def test_processes_that_begin_at_once_share_one_key() -> None:
    script = "from telemetry.format.ownership import signed; print(signed('r', 'p', 1))"
    words = [sys.executable, "-c", script]
    begun = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = {process.communicate()[0] for process in begun}
    assert printed == {f"{signed('r', 'p', 1)}\n"}


@needs_modes
@pytest.mark.parametrize("has_links", [True, False])
def test_a_process_that_comes_second_takes_the_key_that_is_there(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *, has_links: bool
) -> None:
    real = os.link

    def late(source: Path, target: Path, **_how: object) -> None:
        (folder / "key").write_text("ab" * 32, "ascii")
        (folder / "key").chmod(0o600)
        if not has_links:
            raise PermissionError(1, "no links here")
        real(source, target)

    monkeypatch.setattr(os, "link", late)
    assert doubt(RUN, PROJECT, signed(RUN, PROJECT, SPEC)) is None
    assert (folder / "key").read_text("ascii") == "ab" * 32
