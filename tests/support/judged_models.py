"""Stores of models that were judged under hypotheses, and their comparison."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from judged_examples import add_examples
from synthetic import RunBuilder

from telemetry import Store
from telemetry.evaluate.hypothesis_testing import comparison as hypotheses
from telemetry.evaluate.hypothesis_testing.result import Comparison

N = 900
HALF = ["night" if i % 2 else "day" for i in range(N)]


def write(
    store: Path, name: str, of: dict[str, npt.NDArray[np.bool_]], **columns: object
) -> RunBuilder:
    """A run that was evaluated under every hypothesis; its configuration names a seed."""
    builder = RunBuilder(
        store=store,
        run=f"20260102-030405-{name}",
        name=name,
        config={"lr": 0.1, "seed": int(name[-1]) if name[-1].isdigit() else 0},
    )
    for hypothesis, right in of.items():
        add_examples(
            builder,
            right.tolist(),
            [{"time": time} for time in HALF],
            hypothesis=hypothesis,
            eval_id=f"eval-{name}",
            **columns,
        )
    builder.write()
    return builder


def compared(folder: Path, candidate: str = "candid", **options: object) -> Comparison:
    store = Store.open(folder)
    return hypotheses.compare(
        store,
        store.select("seed-0"),
        store.select(candidate),
        **options,  # type: ignore[arg-type]
    )
