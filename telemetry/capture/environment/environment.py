"""Where a run was made: versions, devices, host and script.

Nothing here is a secret: environment variables are copied by an allow-list only.
"""

import multiprocessing
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import torch

from telemetry.capture.environment.numerics import switches
from telemetry.capture.environment.ranks import rank_and_world_size
from telemetry.format.replay import RECORDED_VARIABLES, script_digest
from telemetry.json_values import Json
from telemetry.processes import host_name

DISTRIBUTION = "training-telemetry"
VALUE_LIMIT = 200  # characters


def capture_environment() -> dict[str, Json]:
    """What can be told at once about where a run is made; starts no process and no device."""
    _, world_size = rank_and_world_size()
    return {
        "product": _version(DISTRIBUTION),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "pyarrow": _version("pyarrow"),
        "platform": _platform(),
        "hostname": host_name(),
        "cpu": _cpu_name(),
        "cpu_count": _cpu_count(),
        "devices": _device_names(),
        "script": script_name(),
        "script_hash": script_hash(),
        "world_size": world_size,
        "numerics": switches(),
        "variables": {
            name: os.environ[name][:VALUE_LIMIT]
            for name in RECORDED_VARIABLES
            if name in os.environ
        },
    }


def is_preparing() -> bool:
    """Whether this is a child of multiprocessing that still imports what its parent runs.

    Started by `spawn` or `forkserver`, it runs the main module once more, under another name, and
    reads what it was sent, before it does what it was started for.
    """
    # The attribute by which multiprocessing itself refuses to start processes at that time.
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def script_name() -> str:
    """Name of the script that runs, without its folder; '' in an interactive session."""
    argument = sys.argv[0] if sys.argv else ""
    return "" if argument in {"", "-", "-c", "-m"} else Path(argument).name


def script_hash() -> str:
    """A hash of the script that runs: its code, where no repository tells; '' if there is none."""
    return script_digest(Path(sys.argv[0])) if script_name() else ""


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _platform() -> str:
    # platform.platform() reads the C library of the interpreter's binary: 3 ms
    system = os.uname() if hasattr(os, "uname") else None
    if system is None:
        return sys.platform
    return f"{system.sysname} {system.release} {system.machine}"


def _cpu_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    return _value_after("model name", Path("/proc/cpuinfo"))


def _device_names() -> list[str]:
    """Names of the accelerators, without starting one.

    Until the training itself has initialised CUDA, the driver's own list is read: initialising
    it here would cost seconds and memory, and break a later fork.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    folder = Path("/proc/driver/nvidia/gpus")
    names = [_value_after("Model", path) for path in sorted(folder.glob("*/information"))]
    if not names and torch.backends.mps.is_available():
        return ["Apple MPS"]
    return [name for name in names if name]


def _value_after(key: str, path: Path) -> str:
    """The value of the first line `key : value` of a file of the kernel."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()[:VALUE_LIMIT]
    except OSError:
        pass
    return ""
