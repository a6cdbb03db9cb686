"""Trainings that are ended and gone on with, as a job does that writes checkpoints."""

from collections.abc import Iterator
from pathlib import Path

import torch
from loops import Training, mlp, records, vectors
from torch import Tensor

from telemetry import TelemetryCallback
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Rows
from telemetry.store.store import Store


class Job:
    """A training with a callback; `train()` goes on where it is.

    Args:
        store: Folder of the runs.
        checkpoint: To begin from.
        options: Of the callback.
    """

    def __init__(self, store: Path, *, checkpoint: Path | None = None, **options: object) -> None:
        self.training = Training(mlp, vectors)
        saved = None if checkpoint is None else torch.load(checkpoint, weights_only=True)
        if saved is not None:
            self.training.model.load_state_dict(saved["model"])
            self.training.optimizer.load_state_dict(saved["optimizer"])
            self.training._generator.set_state(saved["data"])
        given = {"every": 5, "overhead_budget": None, "name": "job", "strict": True, **options}
        self.telemetry = TelemetryCallback(
            self.training.model,
            self.training.optimizer,
            store=store,
            **given,  # type: ignore[arg-type]
        )
        if saved is not None:
            self.telemetry.load_state_dict(saved["telemetry"])
            torch.set_rng_state(saved["random"])

    def steps(self, n_steps: int) -> Iterator[Tensor]:
        """Steps with a metric each."""
        for loss in self.training.steps(n_steps):
            self.telemetry.step(loss=loss, error_rate=loss / 2)
            yield loss

    def train(self, n_steps: int) -> "Job":
        for _ in self.steps(n_steps):
            pass
        return self

    def save(self, path: Path) -> Path:
        """Everything that determines how it goes on."""
        torch.save(
            {
                "model": self.training.model.state_dict(),
                "optimizer": self.training.optimizer.state_dict(),
                "data": self.training._generator.get_state(),
                "random": torch.get_rng_state(),
                "telemetry": self.telemetry.state_dict(),
            },
            path,
        )
        return path

    def fail(self) -> "Job":
        self.telemetry.fail(RuntimeError("preempted"))
        return self


def run_of(store: Path, run: str | None = None) -> Run:
    """The run of that id, or the only one."""
    runs = [one for one in Store.open(store).runs() if run in {None, one.run}]
    (found,) = Store.open(store).with_metrics(runs)
    return found


def query(store: Path, sql: str, run: str | None = None) -> Rows:
    """Rows of one run, by the views."""
    with Store.open(store).session([run_of(store, run)]) as session:
        rows = session.query(sql)
        assert session.warnings == ()
    return rows


def messages(run: Path, kind: str = "resume") -> list[str]:
    return [str(row["message"]) for row in records(run, "events") if row["kind"] == kind]


def steps_by_attempt(store: Path, run: str | None = None) -> list[tuple[int, int]]:
    rows = query(store, "SELECT step, attempt FROM steps ORDER BY step, attempt", run)
    return list(zip(rows.ints("step").tolist(), rows.ints("attempt").tolist(), strict=True))
