"""What a script logs to TensorBoard or Weights & Biases, as metrics of its run."""

import functools
import numbers
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType

from telemetry.capture.auto.observed_calls import replace_method, seen_after

TENSORBOARD = ("torch.utils.tensorboard.writer", "tensorboardX.writer")
WANDB = "wandb.sdk.wandb_run"  # `wandb.log` is the method `log` of the run that `init` begins
DEPTH_LIMIT = 8

Log = Callable[[Mapping[str, object]], None]


def watch_tensorboard(module: ModuleType, log: Log) -> None:
    """See each `add_scalar` of the writers of the module."""

    def see(
        result: object, /, writer: object, tag: str, scalar_value: object, *_: object, **__: object
    ) -> None:
        del result, writer
        _log_numbers({tag: scalar_value}, log)

    make = functools.partial(seen_after, see=see, part="metrics logged to TensorBoard")
    replace_method(module.SummaryWriter, "add_scalar", make)


def watch_wandb(module: ModuleType, log: Log) -> None:
    """See each `log` of the runs of the module."""

    def see(
        result: object, /, run: object, data: Mapping[str, object], *_: object, **__: object
    ) -> None:
        del result, run
        _log_numbers(data, log)

    make = functools.partial(seen_after, see=see, part="metrics logged to Weights & Biases")
    replace_method(module.Run, "log", make)


def _log_numbers(data: Mapping[str, object], log: Log) -> None:
    found = dict(_numbers("", data, 0))
    if found:
        log(found)


def _numbers(prefix: str, data: Mapping[str, object], depth: int) -> Iterator[tuple[str, object]]:
    """The numbers among the values, by their dotted names; pictures and texts are left out."""
    from torch import Tensor  # noqa: PLC0415 - the start of Python must not wait for torch

    for key, value in data.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            if depth < DEPTH_LIMIT:
                yield from _numbers(name, value, depth + 1)
        elif isinstance(value, Tensor):
            if value.numel() == 1:
                yield name, value.detach().reshape(())  # stays on its device
        elif not isinstance(value, bool) and isinstance(value, numbers.Real):
            yield name, value
