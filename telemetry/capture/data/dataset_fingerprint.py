"""Tells two data sets apart without reading them through: a hash of what they hold in memory.

No method of a data set is called, for `__getitem__` may draw random numbers. What it holds, its
tensors, arrays and lists, is read at some places; other objects count by their class.
"""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import PurePath

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from telemetry.capture.tensors.inputs import Array

DIGEST_BYTES = 8
MAX_ELEMENTS = 256  # of a tensor or array that are read
MAPPED_ELEMENTS = 64  # of one that lies in a file, where each may be a read of the disk
MAX_ENTRIES = 64  # of a list or mapping
MAX_DEPTH = 5  # of data sets in data sets, lists in lists
MAX_PARTS = 4096
# Libraries that keep a fingerprint of the contents themselves: datasets of Hugging Face.
OWN_FINGERPRINT = "_fingerprint"


def dataset_fingerprint(dataset: object) -> str | None:
    """A hash of 16 hexadecimal digits; None where nothing of a data set lies in memory.

    Equal data sets have equal fingerprints, on other machines too. Different ones may share one if
    they differ at places that are not read.

    Args:
        dataset: Of a loader; only looked at.
    """
    own = _attributes(dataset).get(OWN_FINGERPRINT)
    if isinstance(own, str) and own:
        return own[: 2 * DIGEST_BYTES]
    parts = list(islice(_parts(dataset, MAX_DEPTH), MAX_PARTS))
    if not any(holds_data for _, holds_data in parts):
        return None
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for content, _ in parts:
        digest.update(content)
        digest.update(b"\0")
    return digest.hexdigest()


def _parts(value: object, depth: int) -> Iterator[tuple[bytes, bool]]:
    """Contents in a fixed order, each with whether it is data."""
    if isinstance(value, Tensor):
        yield _tensor(value)
    elif isinstance(value, np.ndarray):
        yield _array(value)
    elif value is None or isinstance(value, bool | int | float):
        yield repr(value).encode(), False
    elif isinstance(value, str | PurePath):  # folders differ between machines
        yield PurePath(value).name.encode("utf-8", "replace"), False
    else:
        yield _name(value), isinstance(value, list | tuple) and bool(value)
        if depth:
            for entry in _entries(value):
                yield from _parts(entry, depth - 1)


def _entries(value: object) -> Iterator[object]:
    """What is inside of a value, if it can be looked into; of many entries some."""
    if isinstance(value, list | tuple):
        yield len(value)
        yield from value[:: -(-len(value) // MAX_ENTRIES) or 1]
    elif isinstance(value, Mapping) and type(value) is dict:
        yield len(value)
        for key, entry in islice(value.items(), MAX_ENTRIES):
            yield str(key) if isinstance(key, str | int) else _name(key).decode()
            yield entry
    elif isinstance(value, range):
        yield from (value.start, value.stop, value.step)
    elif isinstance(value, Dataset):
        for name, entry in sorted(_attributes(value).items()):
            yield name
            yield entry


def _tensor(values: Tensor) -> tuple[bytes, bool]:
    head = f"{tuple(values.shape)}{values.dtype}".encode()
    is_plain = type(values) is Tensor and values.layout is torch.strided
    if not is_plain or values.device.type != "cpu" or not values.numel():
        return head, True
    if values.is_quantized or values.is_conj() or values.is_neg() or not values.is_contiguous():
        return head, True
    flat = values.detach().view(-1)[:: -(-values.numel() // MAX_ELEMENTS)].contiguous()
    return head + flat.view(torch.uint8).numpy().tobytes(), True


def _array(values: Array) -> tuple[bytes, bool]:
    head = f"{values.shape}{values.dtype}".encode()
    if values.dtype.hasobject or not values.size or not values.flags.c_contiguous:
        return head, True
    n_read = MAPPED_ELEMENTS if isinstance(values, np.memmap) else MAX_ELEMENTS
    return head + values.reshape(-1)[:: -(-values.size // n_read)].tobytes(), True


def _attributes(value: object) -> Mapping[str, object]:
    found = getattr(value, "__dict__", None)
    return found if isinstance(found, dict) else {}


def _name(value: object) -> bytes:
    return type(value).__qualname__.encode("utf-8", "replace")
