"""Cross-validations as `telemetry cv run` stores them: each fold is a run."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from synthetic import START, RunBuilder

CV_ID = "cv01cv01"
N_TRAIN, N_TEST = 80, 20


def add_folds(
    store: Path,
    parameters: Mapping[str, float | str],
    values: Sequence[float | None],
    *,
    order: int,
    digest: str = "folds",
    losses: Sequence[float] | None = None,
) -> None:
    """The folds of one configuration, five a repeat; None is a fold that diverged."""
    config_id = "c" + "-".join(str(value) for value in parameters.values()).replace(".", "")
    for place, value in enumerate(values):
        builder = RunBuilder(
            store=store,
            run=f"20260102-030405-{config_id}-{order}-{place}",
            name=f"{config_id}-{place}",
            tags=(f"cv={CV_ID}", f"config={config_id}"),
            config={**parameters, "fold": place % 5, "repeat": place // 5},
        )
        builder.add(
            "cv_scores",
            cv_id=CV_ID,
            config_id=config_id,
            params=json.dumps(dict(parameters)),
            repeat=place // 5,
            fold=place % 5,
            seed=place,
            fold_digest=digest,
            n_train=N_TRAIN,
            n_test=N_TEST,
            metric="accuracy",
            value=value,
            status="ok" if value is not None else "diverged",
            written_at=START + timedelta(minutes=order, seconds=place),
        )
        if value is None and losses is not None:
            builder.losses(losses)
        builder.write()
