import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from judged_runs import Chain


@pytest.fixture
def chain(tmp_path: Path) -> Callable[..., Chain]:
    """Makes runs of `n` layers in one store, each under an id of its own."""
    numbers = itertools.count()

    def make(
        n: int = 8,
        *,
        activation: str = "ReLU",
        tags: tuple[str, ...] = (),
        total_steps: int | None = None,
    ) -> Chain:
        run = f"20260102-030405-{next(numbers):06d}"
        builder = Chain(store=tmp_path / "store", run=run, tags=tags, total_steps=total_steps)
        return builder.layers(n, activation=activation)

    return make
