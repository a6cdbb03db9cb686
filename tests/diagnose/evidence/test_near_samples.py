"""Near copies are told from samples that have neighbours at all distances, and from tight data."""

import numpy as np
import numpy.typing as npt
import pytest

from telemetry.diagnose.evidence.near_samples import Codes, has_near_copies

BITS = 128


def codes(n: int, seed: int) -> Codes:
    return np.random.default_rng(seed).integers(0, 2**63, size=(n, 2)).astype(np.uint64)


def flipped(given: Codes, n_bits: int, seed: int = 9) -> Codes:
    """Each code with so many of its bits turned."""
    generator = np.random.default_rng(seed)
    turned = given.copy()
    for row in turned:
        for bit in generator.permutation(BITS)[:n_bits]:
            row[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    return turned


ORIGINALS, OTHERS = codes(300, 1), codes(300, 2)


@pytest.mark.parametrize(
    ("evaluated", "trained", "share"),
    [
        (flipped(ORIGINALS, 5), ORIGINALS, 1.0),
        (ORIGINALS, np.concatenate([flipped(ORIGINALS, 4, k) for k in range(4)]), 1.0),
        (np.concatenate([ORIGINALS[:64], OTHERS[:192]]), ORIGINALS, 0.25),
        (flipped(ORIGINALS, 12), ORIGINALS, 0.0),  # no copy
        (OTHERS, ORIGINALS, 0.0),
        (ORIGINALS, flipped(np.repeat(ORIGINALS[:1], 300, axis=0), 3), 0.0),  # all of one kind
        (OTHERS[:0], ORIGINALS, 0.0),
    ],
)
def test_copies_lie_close_and_alone(
    evaluated: npt.NDArray[np.uint64], trained: npt.NDArray[np.uint64], share: float
) -> None:
    found = has_near_copies(evaluated, trained)
    assert found.size == len(evaluated)
    assert (found.mean() if found.size else 0.0) == pytest.approx(share, abs=0.005)


def test_neighbours_at_all_distances_are_no_copies() -> None:
    trained = np.concatenate([flipped(ORIGINALS, bits, bits) for bits in (5, 12, 20)])
    assert not has_near_copies(ORIGINALS, trained).any()
