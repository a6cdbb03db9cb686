"""Whether this user recorded a run: a key that nobody else can read signs what would run code.

`run.json` names code under `explain` and a command line under `replay`, and whoever follows them
runs that code. The file may come from anybody, so that nothing in it can prove whose it is but a
signature: HMAC-SHA256 (RFC 2104) with a random key that lies in the user's own configuration
folder. Each of the two has a signature of its own, which cannot stand for the other.

Recording never fails for want of a key: such a run carries no signature, and is not followed
without being asked.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from telemetry import json_values
from telemetry.format.regular_files import read_beginning
from telemetry.json_values import Json
from telemetry.requests.models import EXPLAIN_KEY

SIGNATURE_SUFFIX = "_signature"  # of the key of run.json that is signed
SIGNATURE_KEY = f"{EXPLAIN_KEY}{SIGNATURE_SUFFIX}"
FOLDER, NAME = "training-telemetry", "key"
KEY_BYTES = 32


def signed(run: str, project: str, statement: Json, *, about: str = EXPLAIN_KEY) -> dict[str, Json]:
    """Entries of `run.json`: what would run code, and that this user says so.

    The key is made when there is none. Without one that can be read the signature is None.

    Args:
        run: Id of the run.
        project: Its project.
        statement: What is signed.
        about: Where it stands in `run.json`.
    """
    key = _key() or _made_key()
    signature = None if key is None else _signature(key, run, project, about, statement)
    return {about: statement, f"{about}{SIGNATURE_SUFFIX}": signature}


def doubt(
    run: str, project: str, document: Mapping[str, Json], *, about: str = EXPLAIN_KEY
) -> str | None:
    """Why it is not known that this user recorded a run; None: it is.

    Args:
        run: Id of the run.
        project: Its project.
        document: `run.json`, or those parts of it that this version does not know otherwise.
        about: The entry of it that is to be followed.
    """
    signature = document.get(f"{about}{SIGNATURE_SUFFIX}")
    if not isinstance(signature, str):
        return "it does not have your signature: it was recorded elsewhere, or by an older version"
    key = _key()
    if key is None:
        return (
            f"its signature cannot be checked: your key {key_path() or ''} is missing, damaged, "
            "or readable by others"
        )
    expected = _signature(key, run, project, about, document.get(about))
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        return (
            "its signature is not yours: it was recorded elsewhere, or run.json was changed by hand"
        )
    return None


def key_path() -> Path | None:
    """Where the key lies: in the user's configuration folder (XDG); None where there is none."""
    named = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", "")
    if named and Path(named).is_absolute():
        return Path(named) / FOLDER / NAME
    try:
        return Path.home() / ".config" / FOLDER / NAME
    except RuntimeError:  # a user without a home
        return None


def _signature(key: bytes, run: str, project: str, about: str, statement: Json) -> str:
    """Over the values as a reader of `run.json` has them, whatever their order and spelling."""
    read_back = json.loads(json_values.dumps({"statement": statement}))
    purpose = f"training-telemetry run.json {about} 1"  # no other text that the key signs begins so
    text = json.dumps([purpose, run, project, read_back["statement"]], sort_keys=True)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key() -> bytes | None:
    """The key; None where there is none, or where others can read it, so that it proves nothing."""
    path = key_path()
    if path is None:
        return None
    try:
        found = path.stat()
        key = bytes.fromhex(read_beginning(path, n_bytes=2 * KEY_BYTES).decode("ascii"))
    except (OSError, ValueError):
        return None
    is_secret = not hasattr(os, "geteuid") or (
        found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
    )
    return key if is_secret and len(key) == KEY_BYTES else None


def _made_key() -> bytes | None:
    """A new key, or that of another process that was first; None where none can be kept."""
    path = key_path()
    if path is None or not _is_own_place(path.parent):
        return None
    part = path.with_name(f".{NAME}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_secret(part, secrets.token_hex(KEY_BYTES).encode())
        _publish(part, path)
    except OSError:
        return None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return _key()


def _is_own_place(folder: Path) -> bool:
    """Whether the nearest folder that is there is this user's: under sudo it may not be."""
    for place in (folder, *folder.parents):
        try:
            owner = place.stat().st_uid
        except FileNotFoundError:
            continue
        except OSError:
            return False
        return not hasattr(os, "geteuid") or owner == os.geteuid()
    return False


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _publish(part: Path, path: Path) -> None:
    """Give the file its name, unless another process has done so.

    Raises:
        OSError: it cannot be.
    """
    try:
        path.hardlink_to(part)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            part.replace(path)
