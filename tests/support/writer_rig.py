"""The loop of the writer without its thread: a test takes the turns."""

from pathlib import Path

from recorded import TensorPacket, run_settings, step_rows

from telemetry.capture.writer.claims import claim_run
from telemetry.capture.writer.loop import WriterLoop
from telemetry.capture.writer.run_folder import RunFolder
from telemetry.format.manifest import Manifest, read_manifest

START_S = 1000.0


class Rig:
    """A loop without a thread: the test takes its turns."""

    def __init__(self, store: Path, *, rank: int = 0) -> None:
        claim = claim_run(store, "demo", "r", rank=rank, strict=False)
        self.folder = RunFolder(claim, run_settings(store, rank=rank))
        self.loop = WriterLoop(self.folder, clock=lambda: START_S)
        self.queue = self.loop.queue

    @property
    def run(self) -> Path:
        return self.folder.path

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.run)

    def train(self, steps: range) -> None:
        for step in steps:
            self.queue.put(TensorPacket(step=step))
            self.queue.put(step_rows(range(step, step + 1)))
            self.queue.mark_step(step)
