"""A synthetic run that is still being recorded: it grows, and ends, when a test says so."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from synthetic import RunBuilder

from telemetry.format.manifest import Status, read_manifest, utc_now, write_manifest


class RunningRun:
    """A run whose process lives, as far as its heartbeat tells."""

    def __init__(
        self, store: Path, *, run: str = "20260102-030405-aaaaaa", name: str = "base"
    ) -> None:
        self._store, self._run, self._name = store, run, name
        self.path = RunBuilder(store=store, run=run).path
        self.grow([])

    def grow(self, losses: Sequence[float], *, status: Status = Status.RUNNING) -> None:
        """From now on it has these losses."""
        if self.path.is_dir():
            shutil.rmtree(self.path / "steps", ignore_errors=True)
        builder = RunBuilder(store=self._store, run=self._run, name=self._name)
        if losses:
            builder.losses(losses)
        builder.write(status=status)
        write_manifest(self.path, replace(read_manifest(self.path), heartbeat=utc_now()))

    def die(self) -> None:
        """The process is gone, and nobody has said so."""
        manifest = replace(read_manifest(self.path), heartbeat="2026-01-02T03:04:05Z")
        write_manifest(self.path, manifest)

    def delete(self) -> None:
        """Somebody removes the run."""
        shutil.rmtree(self.path)
