"""Which of how many processes this one is, and the run id that they share."""

import itertools
import logging
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from torch import distributed

from telemetry.errors import UsageError
from telemetry.format.runs import RUN_ID_VARIABLE, check_run_id, new_run_id

logger = logging.getLogger(__name__)

WAIT_LIMIT = timedelta(seconds=30)
# (rank, world size) as torchrun and mpirun export them, before a process group exists.
RANK_VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)
# One training job of a launcher; `none` is what torchrun --standalone calls itself.
JOB_VARIABLES = ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID")

_run_numbers = itertools.count()


class KeyValueStore(Protocol):
    """What is used of torch.distributed.Store."""

    def set(self, key: str, value: str, /) -> None:
        """Leave a value for the other ranks."""
        ...

    def wait(self, keys: list[str], timeout: timedelta, /) -> None:
        """Return when the keys are there; RuntimeError after the timeout."""
        ...

    def get(self, key: str, /) -> bytes:
        """The value of a key."""
        ...


def rank_and_world_size() -> tuple[int, int]:
    """Rank of this process and number of processes; (0, 1) outside distributed training."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    for rank_name, size_name in RANK_VARIABLES:
        rank, size = os.environ.get(rank_name, ""), os.environ.get(size_name, "")
        if rank.isdecimal() and size.isdecimal() and int(rank) < int(size):
            return int(rank), int(size)
    return 0, 1


def _no_run() -> str | None:
    return None


def given_run_id(*, strict: bool) -> str | None:
    """`$TELEMETRY_RUN_ID`; None where it is not set, or unusable, which is told.

    Raises:
        UsageError: it could not be the name of a folder, with `strict`.
    """
    given = os.environ.get(RUN_ID_VARIABLE)
    if not given:
        return None
    try:
        return check_run_id(given)
    except UsageError as error:
        if strict:
            raise
        logger.warning("$%s is ignored: %s", RUN_ID_VARIABLE, error)
        return None


def shared_run_id(
    rank: int,
    world_size: int,
    resumed: Callable[[], str | None] = _no_run,
    *,
    strict: bool = False,
) -> str | None:
    """The id on which all ranks agree; None: this process has a run of its own.

    `$TELEMETRY_RUN_ID` decides. Else rank 0 makes an id and leaves it in the key-value store of
    the process group. That is no collective operation: a script that records on rank 0 alone must
    not wait for the others. Without a process group the launcher's job id is taken. (Address and
    port of the launcher are no id: the next training has the same.)

    Args:
        rank: Rank of this process.
        world_size: Number of processes.
        resumed: Finds the run that is gone on with, if nobody has given an id; asked by a single
            process and by rank 0.
        strict: An id that cannot be used is an error.

    Raises:
        UsageError: the given id cannot be used, with `strict`.
    """
    given = given_run_id(strict=strict)
    if given:
        return given
    if world_size == 1:
        return resumed()
    store = _group_store()
    if store is not None:
        run = resumed() if rank == 0 else None
        return exchanged_run_id(store, rank=rank, number=next(_run_numbers), run=run)
    for name in JOB_VARIABLES:
        job = re.sub(r"[^A-Za-z0-9]+", "-", os.environ.get(name, "")).strip("-")[:60]
        if job and job != "none":
            return f"job-{job}"
    logger.warning(
        "rank %d of %d records its own run: neither a process group nor a job id says which run "
        "the ranks share; create the callback after torch.distributed.init_process_group(), or "
        "set %s to the same id on all ranks",
        rank,
        world_size,
        RUN_ID_VARIABLE,
    )
    return None


def exchanged_run_id(
    store: KeyValueStore,
    *,
    rank: int,
    number: int,
    run: str | None = None,
    wait_limit: timedelta = WAIT_LIMIT,
) -> str | None:
    """The id that rank 0 puts into the store, as every rank sees it.

    Args:
        store: Key-value store of the process group.
        rank: Rank of this process.
        number: How many runs this process began before; all ranks begin them in the same order.
        run: What rank 0 puts there; None: a new id.
        wait_limit: How long another rank waits for rank 0; None is returned after it.
    """
    key = f"telemetry/run/{number}"
    if rank == 0:
        run = run or new_run_id(datetime.now(UTC))
        store.set(key, run)
        return run
    try:
        store.wait([key], wait_limit)
    except RuntimeError:  # torch.distributed.DistStoreError is one
        logger.warning("rank 0 records no run, so rank %d records its own", rank)
        return None
    return store.get(key).decode()


def _group_store() -> KeyValueStore | None:
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    # No public name exists for it; it has had this one since torch 1.10.
    store: KeyValueStore = distributed.distributed_c10d._get_default_store()  # noqa: SLF001
    return store
