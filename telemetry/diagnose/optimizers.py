"""The optimizers of a run as their events tell them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.store.rows import Rows, as_float, as_text

ADAPTIVE = re.compile(
    r"adam|adagrad|adadelta|rmsprop|adafactor|lion|lamb|sophia|rprop", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerInfo:
    """One optimizer as attached.

    Attributes:
        name: Of its class.
        maximises: Whether any of its groups does.
        epsilon: Largest of its groups.
        beta2: Smallest of its groups, the decay of the second moment; 0 where it has none.
    """

    name: str
    maximises: bool
    epsilon: float = 0.0
    beta2: float = 0.0

    @property
    def is_adaptive(self) -> bool:
        """The size of its steps does not follow the size of the gradient."""
        return bool(ADAPTIVE.search(self.name))


SHARED_LOSS_SQL = """
SELECT
    e.kind
FROM events AS e
WHERE e.run = $run
    AND e.kind = 'shared_loss'
LIMIT 1
"""

OPTIMIZERS_SQL = """
SELECT
    e.step,
    e.kind,
    e.payload
FROM events AS e
WHERE e.run = $run
    AND e.kind = 'optimizer'
ORDER BY e.attempt, e.step, e.payload
"""


def optimizers(rows: Rows) -> tuple[OptimizerInfo, ...]:
    """From the rows of `OPTIMIZERS_SQL`: of several attempts the last event counts."""
    found: dict[int, OptimizerInfo] = {}
    for text in rows.texts("payload"):
        payload = json.loads(text or "{}")
        groups = payload.get("groups", [])
        found[int(payload.get("index", 0))] = OptimizerInfo(
            name=as_text(payload.get("class")),
            maximises=any(bool(group.get("maximize")) for group in groups),
            epsilon=max((as_float(group.get("eps") or 0.0) for group in groups), default=0.0),
            beta2=min((_beta2(group) for group in groups), default=0.0),
        )
    return tuple(found[index] for index in sorted(found))


def _beta2(group: Mapping[str, object]) -> float:
    betas = group.get("betas")
    if not isinstance(betas, list) or len(betas) < 2:  # noqa: PLR2004 - Adafactor and others have none
        return 0.0
    return float(betas[1]) if isinstance(betas[1], int | float) else 0.0
