"""Whether a classifier is as right as it is sure."""

from dataclasses import dataclass

import numpy as np

from telemetry.evaluate.stored.evaluations import Examples
from telemetry.json_values import Json

N_BINS = 10  # of equal width
CALIBRATED = 0.05  # difference of sureness and accuracy that is no news


@dataclass(frozen=True, slots=True, kw_only=True)
class SurenessBin:
    """So many answers of about the same confidence: its mean, and the share of right ones."""

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Mean confidence against the share of right answers.

    Attributes:
        confidence: Mean probability of the answers.
        accuracy: Share of right ones.
        error: Mean difference of both over ten bins of confidence, each by its examples.
        bins: Those that hold an example, the least sure first.
    """

    confidence: float
    accuracy: float
    error: float
    bins: tuple[SurenessBin, ...] = ()

    @property
    def sentence(self) -> str:
        """What it says."""
        numbers = (
            f"on average {100 * self.confidence:.0f} % sure, {100 * self.accuracy:.0f} % right"
        )
        gap = self.confidence - self.accuracy
        if abs(gap) <= CALIBRATED and self.error <= CALIBRATED:
            return f"about as right as it is sure ({numbers})"
        if abs(gap) <= CALIBRATED:
            return (
                f"right on average, but off by {100 * self.error:.0f} points where it is more or "
                f"less sure ({numbers})"
            )
        return f"{'too' if gap > 0 else 'not'} sure{'' if gap > 0 else ' enough'} ({numbers})"

    def to_json(self) -> dict[str, Json]:
        """As a document has it."""
        return {
            "confidence": self.confidence,
            "accuracy": self.accuracy,
            "error": self.error,
            "sentence": self.sentence,
            "bins": [
                {"n": one.n, "confidence": one.confidence, "accuracy": one.accuracy}
                for one in self.bins
            ],
        }


def calibration_of(examples: Examples) -> Calibration | None:
    """That of an evaluation; None: nothing is right or wrong, or no confidence is known.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    confidence, right = examples.rows.floats("confidence"), 1 - examples.errors
    known = np.isfinite(confidence) & np.isfinite(right)
    if not known.any():
        return None
    confidence, right = confidence[known], right[known]
    bins = np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)
    sums = [np.bincount(bins, weights=part, minlength=N_BINS) for part in (confidence, right)]
    counts = np.bincount(bins, minlength=N_BINS)
    return Calibration(
        confidence=float(confidence.mean()),
        accuracy=float(right.mean()),
        error=float(np.abs(sums[0] - sums[1]).sum() / len(right)),
        bins=tuple(
            SurenessBin(n=int(n), confidence=float(sure / n), accuracy=float(true / n))
            for n, sure, true in zip(counts, *sums, strict=True)
            if n
        ),
    )
