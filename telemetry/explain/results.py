"""Writes what was found out about a model into the folder of its run."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from telemetry.errors import StoreUnreadable
from telemetry.explain.evaluation import Evaluation
from telemetry.runs import publish_bytes
from telemetry.store.results import append_once

IMAGES, ARRAYS = "explain/images", "explain/arrays"
MOST_ARRAY_BYTES = 16 << 20  # larger ones belong into a checkpoint
Array = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


def write_evaluation(run: Path, evaluation: Evaluation) -> bool:
    """Keep an evaluation in a run; False when the run has it already.

    Args:
        run: The run folder.
        evaluation: Of one checkpoint on one data set.

    Raises:
        StoreUnreadable: the disk refuses.
    """
    return append_once(run, "example_evals", evaluation.rows, identity="eval_id")


def write_image(run: Path, name: str, content: bytes) -> str:
    """Keep a picture in a run; returns its path relative to the run folder.

    Raises:
        StoreUnreadable: the disk refuses.
    """
    return _write(run, Path(IMAGES) / name, content)


def write_array(run: Path, name: str, values: Array) -> str | None:
    """Keep an array in a run as .npy; its path relative to the run folder, None above 16 MiB.

    Raises:
        StoreUnreadable: the disk refuses.
    """
    if values.nbytes > MOST_ARRAY_BYTES:
        return None
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return _write(run, Path(ARRAYS) / name, stream.getvalue())


def _write(run: Path, place: Path, content: bytes) -> str:
    try:
        (run / place).parent.mkdir(parents=True, exist_ok=True)
        publish_bytes(run / place, content)
    except OSError as error:
        raise StoreUnreadable(f"{run / place}: cannot be written ({error.strerror}).") from error
    return place.as_posix()
