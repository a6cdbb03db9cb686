"""The operations that lead from a model's outputs to its loss, taken from a tape."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from telemetry.capture.losses.tape import (
    Key,
    Output,
    Recorded,
    Tape,
    is_plain,
    key_of,
    name_of,
    tensors_of,
)

NOT_SEEN = "the loss was not computed where operations are observed"
NO_OUTPUT = "the loss is not computed from what the model returned"
TOO_MANY = "too many operations lie between the model's output and the loss"
SUBCLASS = "the loss reads tensors of other types than torch.Tensor"
OTHER_NETWORK = "another network, or a layer, reads the model's output"
IN_PLACE = "a part of a tensor is changed in place"
NETWORKS = frozenset(
    {
        *("addmm", "baddbmm", "bmm", "mm", "convolution", "embedding", "native_batch_norm"),
        *("native_layer_norm", "native_group_norm", "linear", "mkldnn_rnn_layer", "_cudnn_rnn"),
        *("convolution_overrideable", "cudnn_convolution", "mkldnn_convolution", "addmv", "mv"),
    }
)

# What is done to labels on their way to a loss, number by number.
ARITHMETIC = frozenset(
    {
        *("add", "div", "mul", "neg", "rsub", "sub", "_to_copy", "alias", "clone", "detach"),
        *("view", "_unsafe_view", "unsqueeze", "squeeze"),
    }
)


class UnknownLossError(Exception):
    """What of a loss is not known, and why: its message."""


class Link(NamedTuple):
    """An operation with the tensors that it reads and returns, and their keys."""

    record: Recorded
    name: str
    read: list[Tensor]
    read_keys: list[Key]
    results: list[Tensor]
    result_keys: list[Key]

    @property
    def is_mutable(self) -> bool:
        """Whether it writes into what it reads."""
        return self.record.operation._schema.is_mutable  # noqa: SLF001 - no public name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """What leads from outputs to the loss.

    Attributes:
        links: Operations whose result depends on an output, oldest first.
        root: The loss.
        outputs: Of the model, by key, that these read.
        sources: All other tensors that these read, by key.
        origins: Of a source that other operations made: the tensor it was made from, or None
            where it was made from nothing that existed before.
        labels: Of a source that was computed from one other tensor number by number: that tensor.
        makers: Of a source that other operations made: the name of the last of them.
    """

    links: tuple[Link, ...]
    root: Tensor
    outputs: dict[Key, Output]
    sources: dict[Key, Tensor] = field(default_factory=dict)
    origins: dict[Key, Tensor | None] = field(default_factory=dict)
    labels: dict[Key, Tensor] = field(default_factory=dict)
    makers: dict[Key, str] = field(default_factory=dict)


def loss_slice(tape: Tape, root: Tensor) -> Slice:
    """The way from the outputs on the tape to a loss.

    Raises:
        UnknownLossError: there is none, or it cannot be followed.
    """
    if tape.is_full:
        raise UnknownLossError(TOO_MANY)
    if not is_plain(root):
        raise UnknownLossError(SUBCLASS)
    outputs = {
        key_of(output.tensor): output
        for output in reversed(tape.outputs)
        if is_plain(output.tensor) and output.tensor.requires_grad and output.tensor is not root
    }
    records = tape.records
    taken = list(reversed(list(_leading(records, key_of(root), outputs))))
    if not taken:
        raise UnknownLossError(NO_OUTPUT if records else NOT_SEEN)
    return _split(taken, root, outputs)


def reads_detached(found: Slice) -> bool:
    """Whether the loss uses an output, or what it made of one, without its gradient."""
    known = {*found.outputs, *(key for link in found.links for key in link.result_keys)}
    return any(
        key in known and not tensor.requires_grad and tensor.is_floating_point()
        for link in found.links
        if link.name != "detach"
        for key, tensor in zip(link.read_keys, link.read, strict=True)
    )


def _leading(records: Sequence[Recorded], root: Key, outputs: dict[Key, Output]) -> Iterator[Link]:
    """Operations that the loss depends on, the newest first, none before an output."""
    needed = {root}
    for record in reversed(records):
        results = [tensor for tensor in tensors_of(record.result) if is_plain(tensor)]
        result_keys = [key_of(tensor) for tensor in results]
        if not any(key in needed and key not in outputs for key in result_keys):
            continue
        needed.difference_update(result_keys)
        read = tensors_of([*record.args, *record.kwargs.values()])
        if not all(map(is_plain, read)):
            raise UnknownLossError(SUBCLASS)
        read_keys = [key_of(tensor) for tensor in read]
        needed.update(read_keys)
        yield Link(record, name_of(record.operation), read, read_keys, results, result_keys)


def _split(taken: Sequence[Link], root: Tensor, outputs: dict[Key, Output]) -> Slice:
    """Operations that depend on an output, and what they read of all others."""
    dependent: set[Key] = set()
    used: dict[Key, Output] = {}
    sources: dict[Key, Tensor] = {}
    origins: dict[Key, Tensor | None] = {}
    labels: dict[Key, Tensor] = {}
    makers: dict[Key, str] = {}
    kept = []
    for link in taken:
        fresh = {key: outputs[key] for key in link.read_keys if key in outputs}
        read = dict(zip(link.read_keys, link.read, strict=True))
        if not fresh and dependent.isdisjoint(read):
            _note_source(link, read, origins, labels, makers)
            continue
        used.update(fresh)
        dependent.update(link.result_keys)
        kept.append(link)
        for key, tensor in read.items():
            if key not in dependent and key not in outputs:
                _check_source(link, tensor, made=key in origins)
                sources[key] = tensor
    if key_of(root) not in dependent:
        raise UnknownLossError(NO_OUTPUT)
    if any(link.is_mutable for link in kept):
        _check_writes(kept)
    return Slice(
        links=tuple(kept),
        root=root,
        outputs=used,
        sources=sources,
        origins=origins,
        labels=labels,
        makers=makers,
    )


def _note_source(
    link: Link,
    read: dict[Key, Tensor],
    origins: dict[Key, Tensor | None],
    labels: dict[Key, Tensor],
    makers: dict[Key, str],
) -> None:
    """Where the results of an operation come from that reads no output."""
    known = [origins.get(key, tensor) for key, tensor in read.items()]
    first = next((tensor for tensor in known if tensor is not None), None)
    origins.update(dict.fromkeys(link.result_keys, first))
    if link.name != "detach":  # which shows the same values
        makers.update(dict.fromkeys(link.result_keys, link.name))
    if link.name in ARITHMETIC and len(read) == 1:
        key, tensor = next(iter(read.items()))
        labels.update(dict.fromkeys(link.result_keys, labels.get(key, tensor)))


def _check_source(link: Link, tensor: Tensor, *, made: bool) -> None:
    """A tensor with a graph that is no parameter was computed from an output before the tape."""
    if not tensor.requires_grad:
        return
    if not tensor.is_leaf and not made:
        raise UnknownLossError(NO_OUTPUT)
    if link.name in NETWORKS:
        raise UnknownLossError(OTHER_NETWORK)


def _check_writes(links: Sequence[Link]) -> None:
    """What is written in place must not be read under another shape."""
    written: set[Key] = set()
    keys: dict[int, set[Key]] = {}
    for link in links:
        tensors = zip(
            [*link.read, *link.results], [*link.read_keys, *link.result_keys], strict=True
        )
        for tensor, key in tensors:
            keys.setdefault(tensor.untyped_storage().data_ptr(), set()).add(key)
        if link.is_mutable:
            written.update(key_of(tensor) for tensor in tensors_of(link.record.args[:1]))
    if any(len(own) > 1 and own & written for own in keys.values()):
        raise UnknownLossError(IN_PLACE)
