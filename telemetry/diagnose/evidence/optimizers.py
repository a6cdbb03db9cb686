"""The optimizers of a run as their events tell them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.json_values import (
    Json,
    json_integer,
    json_list,
    json_number,
    json_objects,
    json_text,
    parsed_object,
)
from telemetry.store.sessions.rows import Rows

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
        payload = parsed_object(text)
        groups = json_objects(payload.get("groups"))
        found[json_integer(payload.get("index")) or 0] = OptimizerInfo(
            name=json_text(payload.get("class")) or "",
            maximises=any(group.get("maximize") is True for group in groups),
            # Adafactor's is a pair, and neither of it is what Adam adds to a root.
            epsilon=max((json_number(group.get("eps")) or 0.0 for group in groups), default=0.0),
            beta2=min((_beta2(group) for group in groups), default=0.0),
        )
    return tuple(found[index] for index in sorted(found))


def _beta2(group: Mapping[str, Json]) -> float:
    betas = json_list(group.get("betas"))  # Adafactor and others have none
    return (json_number(betas[1]) if len(betas) > 1 else None) or 0.0
