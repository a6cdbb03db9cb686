"""What a sweep asks of the tables of one run: a few numbers, and curves of what is compared."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from telemetry.compare.curves.align import Series
from telemetry.json_values import Json, json_integer, json_list, json_object, json_text

Key: TypeAlias = tuple[str, str]  # project and id of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Of one run; `curves`, `losses` and `end` are read where a sweep needs them.

    Attributes:
        metrics: What was logged, and whether it was in an evaluation at least once.
        n_broken: Steps whose loss is not finite; None where no loss was recorded.
        n_parameters: Trainable ones, shared weights once; None where they were not recorded.
        curves: Metrics by name.
        losses: Medians of the loss over tenths of the run.
        end: The training loss that the run ended with (`telemetry.format.run_loss`).
    """

    metrics: Mapping[str, bool] = field(default_factory=dict)
    n_broken: int | None = None
    n_parameters: int | None = None
    curves: Mapping[str, Series] = field(default_factory=dict)
    losses: Series | None = None
    end: float | None = None

    def to_json(self) -> dict[str, Json]:
        """As kept; numbers of curves as bytes, so that they come back bit by bit."""
        return {
            "metrics": self.metrics,
            "n_broken": self.n_broken,
            "n_parameters": self.n_parameters,
            "curves": {name: _packed(curve) for name, curve in self.curves.items()},
            "losses": None if self.losses is None else _packed(self.losses),
            "end": self.end,
        }


def facts_from(document: Mapping[str, Json]) -> Facts:
    """What `Facts.to_json` gave.

    Raises:
        ValueError: it did not.
    """
    losses, end = document.get("losses"), document.get("end")
    if end is not None and not isinstance(end, float):
        raise ValueError("the loss in the end is not a number")
    return Facts(
        metrics={name: one is True for name, one in json_object(document.get("metrics")).items()},
        n_broken=json_integer(document.get("n_broken"), least=0),
        n_parameters=json_integer(document.get("n_parameters"), least=0),
        curves={
            name: _unpacked(curve) for name, curve in json_object(document.get("curves")).items()
        },
        losses=None if losses is None else _unpacked(losses),
        end=end,
    )


def _packed(curve: Series) -> Json:
    return [
        base64.b64encode(curve.steps.astype("<i8").tobytes()).decode(),
        base64.b64encode(curve.values.astype("<f8").tobytes()).decode(),
    ]


def _unpacked(curve: Json) -> Series:
    steps, values = (base64.b64decode(json_text(one) or "") for one in json_list(curve))
    found = Series(
        steps=np.frombuffer(steps, dtype="<i8").astype(np.int64),
        values=np.frombuffer(values, dtype="<f8").astype(np.float64),
    )
    if found.steps.size != found.values.size or not found.steps.size:
        raise ValueError("not a curve")
    return found
