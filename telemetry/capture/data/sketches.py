"""Sets of samples in bounded memory: the smallest of their hashes; owned by the writer thread.

The k smallest of uniform hashes are a uniform sample of the distinct ones, and two such sets agree
on which part of the hashes both know in full.

Source: Beyer et al., "On synopses for distinct-value estimation", SIGMOD 2007.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telemetry.capture.packet import host_table
from telemetry.capture.tensors.host import PackedTensors
from telemetry.capture.tensors.position_hash import splitmix64
from telemetry.format.sketch_size import CODE_WORDS, CODED_SIZE, SKETCH_SIZE

TRAIN = "train"

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]


class Sketch:
    """The smallest distinct hashes of samples, how often each came, and in which forward last."""

    def __init__(self) -> None:
        self._hashes: Hashes = np.zeros(0, np.uint64)
        self._times: Counts = np.zeros(0, np.int64)
        self._forwards: Counts = np.zeros(0, np.int64)
        self._n_forwards = 0
        self._n_seen = 0
        self._n_pairs = 0
        self._n_equal_pairs = 0
        self._distinct_values: list[float] = []
        self._codes: npt.NDArray[np.int64] = np.zeros((0, CODE_WORDS), np.int64)

    def add(self, forwards: Sequence[npt.NDArray[np.int64]]) -> None:
        """Add the samples of forwards, each an array of hashes as they come from the device."""
        sizes = np.array([hashes.size for hashes in forwards])
        together = splitmix64(np.concatenate(forwards)).view(np.uint64)
        numbers = np.repeat(np.arange(self._n_forwards, self._n_forwards + sizes.size), sizes)
        self._n_forwards += sizes.size
        self._n_seen += together.size
        self._n_pairs += int((sizes * (sizes - 1) // 2).sum())
        self._n_equal_pairs += _n_equal_pairs(together, numbers)
        self._merge(together, numbers)

    def look(self, distinct_values: npt.NDArray[np.int64]) -> None:
        """Note how many distinct values some samples have."""
        self._distinct_values.extend(float(value) for value in distinct_values)

    def add_codes(self, codes: npt.NDArray[np.int64]) -> None:
        """Add codes of samples, shape (n, 2); the first distinct ones are kept."""
        if len(self._codes) >= CODED_SIZE:
            return
        together = np.concatenate([self._codes, codes])
        first = np.unique(together, axis=0, return_index=True)[1]
        self._codes = together[np.sort(first)[:CODED_SIZE]]

    def row(self, *, phase: str, step: int) -> Mapping[str, object]:
        """The row of `sketches`."""
        looked = self._distinct_values
        return {
            "step": step,
            "phase": phase,
            "n_seen": self._n_seen,
            "n_pairs": self._n_pairs,
            "n_equal_pairs": self._n_equal_pairs,
            "distinct_values": float(np.median(looked)) if looked else None,
            "hashes": self._hashes.astype("<u8").tobytes(),
            "times": np.minimum(self._times, np.iinfo(np.int32).max).astype("<i4").tobytes(),
            "forwards": None if phase == TRAIN else self._forwards.astype("<i4").tobytes(),
            "codes": self._codes.astype("<i8").tobytes() if len(self._codes) else None,
        }

    def _merge(self, hashes: Hashes, numbers: Counts) -> None:
        if self._hashes.size == SKETCH_SIZE:  # what is larger would not stay
            kept = hashes <= self._hashes[-1]
            hashes, numbers = hashes[kept], numbers[kept]
        # Newest first, for of equal ones the first is taken.
        together = np.concatenate([hashes[::-1], self._hashes])
        times = np.concatenate([np.ones(hashes.size, np.int64), self._times])
        numbers = np.concatenate([numbers[::-1], self._forwards])
        found, newest, inverse = np.unique(together, return_index=True, return_inverse=True)
        sums = np.bincount(inverse, weights=times, minlength=found.size).astype(np.int64)
        self._hashes, self._times = found[:SKETCH_SIZE], sums[:SKETCH_SIZE]
        self._forwards = numbers[newest][:SKETCH_SIZE]


def _n_equal_pairs(hashes: Hashes, numbers: Counts) -> int:
    """Pairs of equal hashes within a forward; one sort for all forwards."""
    order = np.lexsort((hashes, numbers))
    same = (np.diff(hashes[order]) == 0) & (np.diff(numbers[order]) == 0)
    if not same.any():
        return 0
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    counts = np.diff(np.append(starts, hashes.size))
    return int((counts * (counts - 1) // 2).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePacket:
    """Hashes of the samples of some forwards on their way into a sketch; a `Packet`.

    Attributes:
        sketch: That of the training, or a new one of an evaluation; the writer thread's from here.
        n_forwards: Of the packed tensors, how many are hashes of a forward.
        n_coded: How many of those that follow are codes; the others are numbers of distinct values.
        packed: Of the forwards, then the codes, then the numbers.
        phase: Of the row.
        step: Of the row.
        tells: Whether a row is made.
    """

    sketch: Sketch
    n_forwards: int
    n_coded: int
    packed: PackedTensors
    phase: str
    step: int
    tells: bool

    @property
    def n_bytes(self) -> int:
        """Memory held until it is written."""
        return self.packed.n_bytes

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """Adds the samples, then perhaps the row; waits for the device."""
        arrays = [np.asarray(array, np.int64) for array in self.packed.arrays()]
        if self.n_forwards:
            self.sketch.add(arrays[: self.n_forwards])
        n_before = self.n_forwards + self.n_coded
        for codes in arrays[self.n_forwards : n_before]:
            self.sketch.add_codes(codes.reshape(-1, CODE_WORDS))
        for numbers in arrays[n_before:]:
            self.sketch.look(numbers)
        if self.tells:
            row = self.sketch.row(phase=self.phase, step=self.step)
            yield "sketches", host_table("sketches", [row])
