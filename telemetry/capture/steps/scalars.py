"""Per-step scalars and metrics on their way from the loop to packets."""

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeGuard

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import number_of
from telemetry.capture.steps.ledger import StepLedger, StepRecord, metric_phase
from telemetry.capture.steps.packet import MetricRecord, StepPacket
from telemetry.capture.steps.quantity import Reductions, StepQuantity
from telemetry.capture.tensors.host import as_kept, as_known
from telemetry.json_values import Json

logger = logging.getLogger(__name__)

# A slow loop is written within the interval, a fast one in large packets: the writer thread shares
# the interpreter with the loop, and 64 rows cost it almost as much as 1,024.
STEPS_PER_PACKET = 1024
PACKET_INTERVAL_S = 0.25


class ScalarLog:
    """Collects closed steps and metrics, and hands them over in packets.

    Args:
        ledger: Ends the steps.
        now_s: The time.
        quantities: Of steps, whose columns the packets have.

    Attributes:
        n_added: How often metrics were added.
    """

    def __init__(
        self, ledger: StepLedger, *, now_s: float, quantities: Sequence[StepQuantity] = ()
    ) -> None:
        self.ledger = ledger
        self._metrics: list[MetricRecord] = []
        self._due_s = now_s + PACKET_INTERVAL_S
        self._refused: set[str] = set()
        self._rates: dict[int, float | Tensor] = {}
        self._reductions = Reductions(quantities)
        self.n_added = 0
        self._n_refused = 0

    @property
    def progress(self) -> tuple[int, int, int, int]:
        """Another value after a step, a forward or backward pass of training, and a metric."""
        record = self.ledger.current
        return record.step, record.samples, record.backward_calls, self.n_added

    def add(self, metrics: Mapping[str, object], *, step: int, closes_evaluation: bool) -> None:
        """Keep named values of a step; what is not a number is refused once, by name."""
        self.n_added += 1
        now = datetime.now(UTC).replace(tzinfo=None)
        for name, value in metrics.items():
            number = as_number(value)
            if number is None:
                self._refuse(name, value)
                continue
            phase = metric_phase(name, closes_evaluation=closes_evaluation)
            # A lone surrogate fits no table: it would cost the metrics of all steps beside it.
            text = name if name.isascii() else name.encode("utf-8", "replace").decode()
            self._metrics.append(
                MetricRecord(step=step, phase=phase, name=text, value=number, wall_time=now)
            )

    def add_rates(self, optimizers: Sequence[Optimizer], *, step: int) -> None:
        """Learning rates of the groups after the first, when they change, as `lr/<group>`."""
        if len(optimizers) == 1 and len(optimizers[0].param_groups) == 1:
            return
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        changed: dict[str, object] = {}
        for index, group in enumerate(groups[1:], start=1):
            rate = number_of(group, "lr")
            if rate is None:
                continue
            if isinstance(rate, Tensor) or self._rates.get(index) != rate:
                self._rates[index] = rate
                changed[f"lr/{index}"] = rate
        if changed:
            self.add(changed, step=step, closes_evaluation=False)

    def known_loss(self, value: object) -> Tensor | float | None:
        """A loss as it is now; what is not a number is refused once, and its step is kept."""
        if value is None:
            return None
        known = as_known(value) if _is_scalar(value) else as_number(value)
        if known is None:
            self._refuse("loss", value)
        return known

    def is_due(self, now_s: float) -> bool:
        """Whether a packet should leave: enough steps, or enough time since the last one."""
        return now_s >= self._due_s or len(self.ledger.ended) > STEPS_PER_PACKET

    def packet(self, *, now_s: float, final: bool = False) -> StepPacket | None:
        """Everything that is complete; None when there is nothing."""
        self._due_s = now_s + PACKET_INTERVAL_S
        steps: list[StepRecord] = self.ledger.take(final=final)
        metrics, self._metrics = self._metrics, []
        if not steps and not metrics:
            return None
        return StepPacket.of(steps, metrics, self._reductions)

    def summary(self) -> dict[str, Json]:
        """What the summary of the run says: how many values were no numbers, if any."""
        return {"refused_values": self._n_refused} if self._n_refused else {}

    def _refuse(self, name: str, value: object) -> None:
        self._n_refused += 1
        if name not in self._refused:
            self._refused.add(name)
            logger.warning(
                "%r is a %s, not a number, so it is not recorded", name, type(value).__name__
            )


def _is_scalar(value: object) -> TypeGuard[Tensor | float]:
    """What nearly every loss is: a tensor with elements, or a number."""
    return value.numel() > 0 if isinstance(value, Tensor) else type(value) is float


def as_number(value: object) -> Tensor | float | None:
    """A metric's value as it is now, on its device; None for what is not a number."""
    if isinstance(value, Tensor):
        return as_kept(value) if value.numel() else None
    if isinstance(value, str | bytes) or (isinstance(value, np.ndarray) and value.size != 1):
        return None
    value = value.item() if isinstance(value, np.ndarray) else value
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, RuntimeError):
        return None
