"""Whether samples of an evaluation are copies of trained ones, changed a little.

Codes of two samples at an angle of a differ in a share a / pi of their bits. Natural samples have
neighbours at all distances; a copy lies close, and nothing lies between it and all the others. So
what is counted is the gap, and data that lie close together everywhere have none.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.diagnose.judgement.robust import BoolArray
from telemetry.format.sketch_size import CODE_WORDS
from telemetry.store.sessions.rows import Rows

NEAR_BITS = 8  # of 128: 0.2 rad; a copy with a fifth of noise
FAR_BITS = 16  # others are at 0.4 rad or more
MAX_COPIES = 16
MAX_COMPARED = 256  # samples of an evaluation
MIN_DISTINCT_VALUES = 8.0  # of a sample: those of few are equal by chance

Codes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCopies:
    """Copies among the samples of the last evaluation.

    Attributes:
        first_step, last_step: Of the evaluations whose samples are known.
        n: Samples compared, without those that are equal to a trained one.
        n_near: Of them, those with a few trained ones close and all others far away.
        n_trained: They were compared with.
    """

    first_step: int
    last_step: int
    n: int
    n_near: int
    n_trained: int


def near_copies(rows: Rows) -> NearCopies | None:
    """Compare the last evaluation with what was trained on by then; None where it is not known.

    Args:
        rows: Of `sketches`, with phase, step, distinct_values and codes.
    """
    phases, steps = np.array(rows.texts("phase")), rows.ints("step")
    blobs, values = rows.blobs("codes"), rows.floats("distinct_values")
    coded = np.array([bool(blob) for blob in blobs], np.bool_) & ~(values < MIN_DISTINCT_VALUES)
    evaluated = np.flatnonzero(coded & (phases == "eval"))
    if not evaluated.size:
        return None
    last = evaluated[np.argmax(steps[evaluated])]
    trained = np.flatnonzero(coded & (phases == "train") & (steps <= steps[last]))
    if not trained.size:
        return None
    newest = trained[steps[trained] == steps[trained].max()]
    before = np.concatenate([_codes(blobs[place]) for place in newest.tolist()])
    compared = _codes(blobs[last])[:MAX_COMPARED]
    # Equal ones are judged by their hashes: the training data may be evaluated on purpose.
    is_equal = (compared[:, None] == before[None]).all(axis=2).any(axis=1)
    found = has_near_copies(compared[~is_equal], before)
    return NearCopies(
        first_step=int(steps[evaluated].min()),
        last_step=int(steps[last]),
        n=int(found.size),
        n_near=int(found.sum()),
        n_trained=len(before),
    )


def _codes(blob: bytes | None) -> Codes:
    return np.frombuffer(blob or b"", "<u8").astype(np.uint64).reshape(-1, CODE_WORDS)


def has_near_copies(evaluated: Codes, trained: Codes) -> BoolArray:
    """Which samples have a few trained ones close, and all others far away."""
    bits = np.zeros((len(evaluated), len(trained)), np.uint8)
    for word in range(CODE_WORDS):
        bits += _popcount(evaluated[:, None, word] ^ trained[None, :, word])
    near = (bits <= NEAR_BITS).sum(axis=1)
    between = ((bits > NEAR_BITS) & (bits < FAR_BITS)).sum(axis=1)
    found: BoolArray = (near > 0) & (near <= MAX_COPIES) & (between == 0)
    return found


def _popcount(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Bits that are one, by adding neighbours; numpy has its own from version 2."""
    count = words - ((words >> np.uint64(1)) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    count = (count & pairs) + ((count >> np.uint64(2)) & pairs)
    count = (count + (count >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    found: npt.NDArray[np.uint8] = (
        (count * np.uint64(0x0101010101010101)) >> np.uint64(56)
    ).astype(np.uint8)
    return found
