"""What a step's loss is where a loop divides the losses of its micro-batches by their number.

The gradient of the step is then that of their mean, which is the sum of what the backward passes
start from; a closure returns what the last of them started from, a k-th of the last loss. That is
so in Lightning, where each micro-batch is a call of a closure and the optimizer gets the last.
"""

from collections.abc import Sequence

TOLERANCE = 1e-3  # relative, of a constant in half precision


class DividedLosses:
    """The constant by which roots are divided, as the last sampled step told; of one writer."""

    def __init__(self) -> None:
        self._factor: float | None = None

    def learn(self, factor_sum: float | None, n_roots: int) -> None:
        """Take note of a step; `factor_sum` is None where the factors were not read.

        A step of fewer micro-batches, as the last one of an epoch, divides by the number of the
        others.
        """
        if factor_sum is None or n_roots == 0:
            return
        factor = factor_sum / n_roots
        if _is_near(factor_sum, 1.0):
            self._factor = factor
        elif self._factor is None or not _is_near(factor, self._factor):
            self._factor = None

    def loss(self, roots: Sequence[float], returned: float | None) -> float | None:
        """The mean of the undivided losses of a step; None if the loop divides none.

        Args:
            roots: What its backward passes started from, without the loss scale.
            returned: What its closure returned; None without one. A closure that returns something
                else than its root speaks for itself.
        """
        if self._factor is None or len(roots) < 2:  # noqa: PLR2004 - one pass accumulates nothing
            return None
        if returned is not None and not _is_near(returned, roots[-1]):
            return None
        share = len(roots) * self._factor
        return sum(roots) if _is_near(share, 1.0) else sum(roots) / share


def _is_near(value: float, other: float) -> bool:
    return abs(value - other) <= TOLERANCE * abs(other)
