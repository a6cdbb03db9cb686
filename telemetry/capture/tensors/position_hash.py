"""Multipliers of positional hashes: bits weighted by where they stand, summed modulo 2^64."""

import numpy as np
import numpy.typing as npt


def splitmix64(index: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Outputs of the splitmix64 generator seeded with 0, by their index, in the shape of `index`.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    with np.errstate(over="ignore"):
        word = (np.asarray(index, np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(word ^ (word >> np.uint64(31))).view(np.int64)
