"""Evaluations of examples as `telemetry evaluate` writes them, with a planted truth."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from synthetic import START, RunBuilder

DATASET = "shop.data:valid"
ERROR_SHARE = 0.1


@dataclass
class Table:
    """Columns of metadata `a` to `h`, uniform over four values, and which answers are wrong."""

    n: int = 4_000
    seed: int = 0
    columns: dict[str, list[str]] = field(default_factory=dict)
    wrong: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.seed)
        for name in "abcdefgh":
            self.columns[name] = [str(v) for v in generator.integers(0, 5, self.n)]
        self.wrong = generator.random(self.n) < ERROR_SHARE

    def plant(self, where: Mapping[str, str], error: float) -> npt.NDArray[np.bool_]:
        """Make a group wrong that often; returns who is in it."""
        inside = np.ones(self.n, dtype=np.bool_)
        for name, value in where.items():
            inside &= np.array(self.columns[name]) == value
        drawn = np.random.default_rng(self.seed + 1).random(self.n) < error
        self.wrong = np.where(inside, drawn, self.wrong)
        return inside

    def metadata(self) -> list[dict[str, str]]:
        """The metadata of each example."""
        return [
            dict(zip(self.columns, values, strict=True))
            for values in zip(*self.columns.values(), strict=True)
        ]


def add_examples(
    builder: RunBuilder,
    correct: Sequence[bool],
    /,
    metadata: Sequence[Mapping[str, object]] | None = None,
    **columns: object,
) -> RunBuilder:
    """One evaluation: an example a truth value; further columns, a list or one value for all."""
    for place, is_right in enumerate(correct):
        own = {name: v[place] if isinstance(v, list) else v for name, v in columns.items()}
        name = str(own.get("example_id", f"{place:05d}"))
        row: dict[str, object] = {
            "eval_id": "e1e1e1e1",
            "step": 10,
            "checkpoint": "c0ffee",
            "dataset": DATASET,
            "hypothesis": "",
            "example_id": name,
            "input_digest": f"d{name}",
            "label": str(place % 10),
            "prediction": str(place % 10 if is_right else (place + 1) % 10),
            "correct": bool(is_right),
            "loss": 0.1 if is_right else 2.0,
            "confidence": 0.8,
            "metadata": json.dumps(dict(metadata[place]) if metadata else {}),
            "written_at": START,
        }
        builder.add("example_evals", **{**row, **own})
    return builder


def judged_run(store: Path, name: str, correct: Sequence[bool], /, **columns: object) -> Path:
    """A run with one evaluation."""
    builder = RunBuilder(store=store, run=f"20260102-030405-{name:0<6}", name=name)
    return add_examples(builder, correct, **columns).write()  # type: ignore[arg-type]
