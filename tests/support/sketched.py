"""Rows of `sketches` for synthetic runs: sets of samples given by their hashes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from synthetic import RunBuilder

Samples = npt.NDArray[np.uint64]
SIZE = 4096


def samples(n: int, seed: int) -> Samples:
    """Hashes of the samples of a data set."""
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def forwards(values: Samples, size: int = 50) -> list[Samples]:
    """The samples in batches."""
    return [values[i : i + size] for i in range(0, len(values), size)]


def sketch(  # noqa: PLR0913 - columns of a row
    run: RunBuilder,
    step: int,
    phase: str,
    parts: Sequence[Samples],
    *,
    times: int | npt.NDArray[np.int64] = 20,
    n_pairs: int | None = None,
    n_equal_pairs: int = 0,
    distinct_values: float | None = 30.0,
    codes: Samples | None = None,
) -> None:
    """One row of `sketches`; a sample is of the last forward that holds it."""
    hashes, last = np.unique(np.concatenate(parts)[::-1], return_index=True)
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[::-1][last]
    seen = np.broadcast_to(times, hashes.shape)[:SIZE]
    pairs = int(seen.sum()) * 49 // 2 if phase == "train" else sum(len(p) ** 2 for p in parts) // 2
    run.add(
        "sketches", step=step, phase=phase, n_seen=int(seen.sum()), n_pairs=n_pairs or pairs,
        n_equal_pairs=n_equal_pairs, distinct_values=distinct_values,
        hashes=hashes[:SIZE].astype("<u8").tobytes(), times=seen.astype("<i4").tobytes(),
        forwards=None if phase == "train" else numbers[:SIZE].astype("<i4").tobytes(),
        codes=None if codes is None else codes.astype("<u8").tobytes(),
    )  # fmt: skip
