"""How a recorded training was started, as `run.json` keeps it, so that it can be run again."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from telemetry.format.regular_files import read_beginning
from telemetry.json_values import Json, json_list, json_text

REPLAY_KEY = "replay"  # of run.json
SCRIPT_BYTES = 1 << 20  # that are hashed
DIGEST_BYTES = 6
HIDDEN = "(hidden)"  # stands for an argument that looks like a secret
# Variables that change the numbers, the speed or the place of a training.
RECORDED_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "LOCAL_WORLD_SIZE",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTORCH_CUDA_ALLOC_CONF",
    "SLURM_JOB_ID",
    "SLURM_JOB_NUM_NODES",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The command line of a training.

    Attributes:
        interpreter: Python that ran it.
        words: Everything after the interpreter: options of Python, the script, its arguments. What
            looks like a secret is hidden.
        script: The script's file, or that of the module after `-m`.
        script_hash: See `script_digest`.
        folder: Working directory.
        request: Its `$TELEMETRY_AUTO`, with the options of `telemetry record`; '' where there was
            none.
    """

    interpreter: str
    words: tuple[str, ...]
    script: str
    script_hash: str
    folder: str
    request: str = ""

    @property
    def n_hidden(self) -> int:
        """Words that were hidden."""
        return sum(HIDDEN in word for word in self.words)

    def to_json(self) -> dict[str, Json]:
        """As it stands in `run.json`."""
        return {
            "interpreter": self.interpreter,
            "words": list(self.words),
            "script": self.script,
            "script_hash": self.script_hash,
            "folder": self.folder,
            "request": self.request,
        }

    @classmethod
    def of(cls, document: Mapping[str, Json]) -> "Replay | None":
        """What `run.json` says; None where it says nothing that can be followed."""
        found = document.get(REPLAY_KEY)
        if not isinstance(found, Mapping):
            return None
        texts = {
            name: json_text(found.get(name))
            for name in ("interpreter", "script", "script_hash", "folder")
        }
        words = tuple(word for word in json_list(found.get("words")) if isinstance(word, str))
        if not words or not all(texts.values()):
            return None
        return cls(
            words=words,
            request=json_text(found.get("request")) or "",
            **{name: text or "" for name, text in texts.items()},
        )


def script_digest(path: Path) -> str:
    """A hash of a script's first MiB; '' if it cannot be read."""
    try:
        content = read_beginning(path, n_bytes=SCRIPT_BYTES)
    except OSError:
        return ""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()
