"""Folds in parallel: processes that take one after another; one that dies costs its fold alone."""

import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait

import torch

from telemetry.errors import UsageError
from telemetry.explain.folds.training import FAILED, FoldTask, Outcome, TrainAndScore, train_fold
from telemetry.processes import ending

STOP_SECONDS = 5  # for a process that was told to end
DEATH_SECONDS = 60  # for one that is ending: on a busy machine an interpreter takes its time


def train_in_parallel(
    train_and_score: TrainAndScore, tasks: Sequence[FoldTask], *, jobs: int
) -> Iterator[tuple[FoldTask, Outcome]]:
    """Each task with its outcome, as they come.

    Args:
        train_and_score: A function of a module, which each process imports.
        tasks: What is to be done.
        jobs: Processes at the same time, at least 1; one trains in this process.

    Raises:
        UsageError: the function cannot be found by another process.
    """
    if jobs == 1 or len(tasks) <= 1:
        for task in tasks:
            yield task, train_fold(train_and_score, task)
        return
    try:
        pickle.dumps(train_and_score)
    except Exception as error:  # pickling calls code of the user's objects
        raise UsageError(
            f"jobs={jobs} needs a function that other processes can import ({error}); define it "
            "in a module, or use jobs=1."
        ) from error
    yield from _shared_out(train_and_score, tasks, min(jobs, len(tasks)))


class _Worker:
    """A process and the task it is at."""

    def __init__(self, train_and_score: TrainAndScore, n_threads: int) -> None:
        spawning = multiprocessing.get_context("spawn")  # a fork of a torch process may hang
        self.connection, theirs = spawning.Pipe()
        self.process = spawning.Process(
            target=_work, args=(theirs, train_and_score, n_threads), daemon=True
        )
        self.process.start()
        theirs.close()  # so that its death is seen as the end of what it sends
        self.task: FoldTask | None = None
        self.has_begun = False

    def begin(self) -> None:
        """Take the word that the process is ready.

        Raises:
            UsageError: it ended while it imported the training.
        """
        try:
            self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self.process.join(DEATH_SECONDS)
            raise UsageError(
                f"a training process {ending(self.process.exitcode)} before it began. It "
                "imports your module again, so code that starts a training there must be below "
                '`if __name__ == "__main__":`.'
            ) from error
        self.has_begun = True

    def give(self, task: FoldTask) -> None:
        """Have a task done; a process that died is noticed when its outcome is asked for."""
        self.task = task
        try:
            self.connection.send(task)
        except (BrokenPipeError, ConnectionResetError):
            return

    def outcome(self) -> Outcome | None:
        """What became of the task; None when the process died."""
        try:
            found = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(DEATH_SECONDS)  # its exit code is told
            return None
        return found if isinstance(found, Outcome) else None

    def stop(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.terminate()
        self.process.join(STOP_SECONDS)


def _shared_out(
    train_and_score: TrainAndScore, tasks: Sequence[FoldTask], jobs: int
) -> Iterator[tuple[FoldTask, Outcome]]:
    start = partial(_Worker, train_and_score, max(1, torch.get_num_threads() // jobs))
    waiting = list(reversed(tasks))
    workers: list[_Worker] = []
    try:
        for _ in range(jobs):
            workers.append(start())
            workers[-1].give(waiting.pop())
        while workers:
            ready = wait([worker.connection for worker in workers])
            for worker in [one for one in workers if one.connection in ready]:
                if not worker.has_begun:
                    worker.begin()
                    continue
                task, outcome = worker.task, worker.outcome()
                _go_on(workers, worker, waiting, None if outcome else start)
                if task is not None:
                    yield task, outcome or _death(worker)
    finally:
        for worker in workers:
            worker.stop()


def _go_on(
    workers: list[_Worker],
    worker: _Worker,
    waiting: list[FoldTask],
    start_another: Callable[[], _Worker] | None,
) -> None:
    """Give out the next task, before the outcome of the last one is dealt with.

    Args:
        workers: All; changed.
        worker: The one that has no task now.
        waiting: Tasks, the next one last; changed.
        start_another: Makes its successor; None unless it died.
    """
    if start_another is not None or not waiting:
        worker.stop()
        workers.remove(worker)
    if waiting:
        if start_another is not None:
            workers.append(start_another())
        (worker if start_another is None else workers[-1]).give(waiting.pop())


def _death(worker: _Worker) -> Outcome:
    error = f"its process {ending(worker.process.exitcode)}"
    return Outcome(run=None, status=FAILED, error=error)


def _work(
    connection: "Connection[Outcome | None, FoldTask]",
    train_and_score: TrainAndScore,
    n_threads: int,
) -> None:
    """Body of a process: tasks in, outcomes out, until nobody sends any."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout = sys.stderr  # what the user's code prints is no part of the answer
    torch.set_num_threads(n_threads)
    connection.send(None)
    while True:
        try:
            task = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            connection.send(train_fold(train_and_score, task))
        except (KeyboardInterrupt, BrokenPipeError):
            return


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
