"""Where an output of a model meets what it is compared with: the pairs of a loss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from torch import Tensor

from telemetry.capture.losses.heads import HEAD_OPERATIONS, NO_HEAD, OF_CLASSES, Head, head_of
from telemetry.capture.losses.slicing import Link, Slice
from telemetry.capture.losses.tape import Key
from telemetry.format.loss_operations import BINARY, DIFFERENCES, INDEXED, SIGNED, WEIGHTED

MAX_PAIRS = 4
MEETING = DIFFERENCES | BINARY | INDEXED | SIGNED | WEIGHTED
SMALL = 0.01
LOGARITHMS = frozenset({"log", "log_sigmoid", "log_softmax"})
RESHAPING = frozenset(
    {
        *("alias", "clone", "detach", "permute", "select", "slice", "squeeze", "t", "_to_copy"),
        *("transpose", "_unsafe_view", "unsqueeze", "view", "_reshape_alias", "as_strided"),
    }
)
EXPANDING = frozenset({"expand"})
REORDERING = frozenset({"permute", "t", "transpose"})
FLATTENING = frozenset({"view", "_unsafe_view", "_reshape_alias"})
REDUCING = frozenset({"mean", "sum"})
CLIPPING = frozenset({"clamp", "clamp_max", "clamp_min", "clip"})  # leaves an output what it is


class Misaligned(StrEnum):
    """Why the scores of a place do not meet the target of that place."""

    TORN = "split"  # a view of (N, C, ...) as rows of C takes them from several places
    TRANSPOSED = "transposed"  # outputs run over (T, N), targets over (N, T)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """An output and the target it is compared with; both are tensors of the training itself.

    Attributes:
        operation: That reads both, such as `sub` or `nll_loss_forward`.
        path: Of the module that returned the output.
        head: The last operation before they meet.
        output_head: The last operation of the output itself.
        values: What meets the target: the output, or what the loss made of it.
        target: What it meets.
        output: As the model returned it.
        output_shape: Of the output as the model returned it.
        target_shape: Of the target before it was broadcast.
        is_output: Whether `values` are the output, at most reshaped or through its head.
        is_broadcast: Whether each entry of the one meets every entry of the other, although they
            have as many: shapes such as (N, 1) and (N).
        is_made: Whether the loss made the target itself, such as ones of a generator's loss.
        labels: What the target was made from, entry by entry; None where it was read as it is.
        misaligned: How the entries of output and target fail to belong together.
        ignored: Class number that the loss leaves out; None where it may leave out others.
        softmax: The softmax before they meet, past its logarithm; None where there is none, or
            where its result was reshaped since.
        class_dim: Dimension along which a class number picks; None for other losses.
        place: Of the operation among those of the loss.
    """

    operation: str
    path: str
    head: Head
    output_head: Head
    values: Tensor
    target: Tensor
    output: Tensor
    output_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    is_output: bool
    is_broadcast: bool
    is_made: bool
    labels: Tensor | None
    misaligned: Misaligned | None
    ignored: int | None
    softmax: Head | None
    class_dim: int | None
    place: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Value:
    """What is known of a tensor that depends on outputs.

    `shape` is that before it was expanded; `is_single` is true of one output, at most reshaped or
    through a head; `is_raised` where dimensions were added to it; `is_reordered` where dimensions
    changed places; `torn` is the shape in which its second dimension was split; `softmax` the
    last one, as long as the shape is the same.
    """

    outputs: frozenset[Key]
    head: Head
    shape: tuple[int, ...]
    is_single: bool = True
    is_raised: bool = False
    is_reordered: bool = False
    torn: tuple[int, ...] = ()
    softmax: Head | None = None


def pairs_of(found: Slice) -> list[Pair]:
    """Pairs of a loss in the order in which they meet, one of each target."""
    values = {
        key: _Value(
            outputs=frozenset({key}),
            head=(head := head_of(output.tensor)),
            shape=tuple(output.tensor.shape),
            softmax=_of_classes(head),
        )
        for key, output in found.outputs.items()
    }
    pairs: list[Pair] = []
    scored: list[Pair] = []
    seen: set[int] = set()
    for place, link in enumerate(found.links):
        for pair, target in _met(link, place, found, values):
            origin = found.origins.get(target, pair.target)
            known = id(origin) if origin is not None else id(pair.target)
            if pair.operation in WEIGHTED and pair.head.name not in LOGARITHMS:
                scored.append(pair)
            elif known not in seen and len(pairs) < MAX_PAIRS:
                seen.add(known)
                pairs.append(pair)
        _follow(link, values)
    return pairs or scored[:1]


def single_softmax(found: Slice) -> bool:
    """Whether a softmax over one unit stands on the way to the loss."""
    heads = [head_of(output.tensor) for output in found.outputs.values()]
    heads += [_softmax_head(link) for link in found.links]
    return any(head.name in OF_CLASSES and head.units == 1 for head in heads)


def _class_dim(link: Link, n_dims: int) -> int | None:
    if link.name not in INDEXED:
        return None
    if link.name == "index":
        return n_dims - 1
    dim = link.record.args[1] if link.name == "gather" else 1
    return min(dim % n_dims, n_dims - 1) if isinstance(dim, int) else None


def _of_classes(head: Head) -> Head | None:
    return head if head.name in OF_CLASSES and head.units > 1 else None


def adds_little(link: Link) -> bool:
    """Whether a small number is added, lest a logarithm or a quotient be infinite."""
    given = next(iter(link.record.args[1:2]), None)
    is_small = isinstance(given, int | float) and 0 < abs(given) <= SMALL
    return link.name in {"add", "sub"} and is_small


def _softmax_head(link: Link) -> Head:
    name = HEAD_OPERATIONS.get(link.name, "")
    if name not in OF_CLASSES or not link.results or not link.results[0].dim():
        return Head(name=name) if name else NO_HEAD
    args = link.record.args
    dim = args[1] if len(args) > 1 else -1
    if not isinstance(dim, int):
        return Head(name=name)
    shape = link.results[0].shape
    return Head(name=name, units=shape[dim], dim=dim % len(shape))


def _follow(link: Link, values: dict[Key, _Value]) -> None:
    """Say of the results of an operation what is known of its arguments."""
    read = [values[key] for key in link.read_keys if key in values]
    if not read:
        return
    first = read[0]
    if len(read) > 1:
        first = replace(first, outputs=frozenset().union(*(value.outputs for value in read)))
    for result, key in zip(link.results, link.result_keys, strict=True):
        shape = tuple(result.shape)
        if link.name in EXPANDING:
            value = first
        elif link.name in RESHAPING | CLIPPING or adds_little(link):
            value = replace(
                first,
                shape=shape,
                is_raised=first.is_raised or len(shape) > len(first.shape),
                is_reordered=first.is_reordered or link.name in REORDERING,
                torn=first.torn or _torn(link, first.shape, shape),
                softmax=first.softmax if shape == first.shape else None,
            )
        elif link.name in HEAD_OPERATIONS:
            head = _softmax_head(link)
            softmax = first.softmax if head.name == "log" else _of_classes(head)
            value = replace(first, head=head, shape=shape, softmax=softmax)
        else:
            value = replace(first, head=NO_HEAD, shape=shape, is_single=False)
        values[key] = value


def _met(
    link: Link, place: int, found: Slice, values: dict[Key, _Value]
) -> Iterator[tuple[Pair, Key]]:
    """The pair that meets in an operation, with the key of its target."""
    name = link.name
    if name not in MEETING:
        return
    n = len(link.read) if name == "index" else 2
    arguments = list(zip(link.read_keys[:n], link.read[:n], strict=True))
    answers = [entry for entry in arguments if entry[0] in values]
    targets = [
        (key, tensor)
        for key, tensor in arguments
        if key in found.sources and tensor.numel() > 1 and not tensor.requires_grad
    ]
    if len(answers) != 1 or not targets:
        return
    (answer_key, answer), (target_key, target) = answers[0], targets[-1]
    value = values[answer_key]
    if name in WEIGHTED and value.head.name not in LOGARITHMS and not _is_score(value, target):
        return
    output = found.outputs[min(value.outputs)]
    if not _is_of_batch(target, output.tensor):
        return
    shape = _unexpanded(target)
    labels = found.labels.get(target_key)
    yield (
        Pair(
            operation=name,
            path=output.path,
            head=value.head,
            output_head=head_of(output.tensor),
            values=answer,
            target=target,
            output=output.tensor,
            output_shape=tuple(output.tensor.shape),
            target_shape=shape,
            is_output=value.is_single and len(value.outputs) == 1,
            is_broadcast=name in DIFFERENCES | BINARY and _crosses(value, shape),
            is_made=target_key in found.origins and found.origins[target_key] is None,
            labels=labels,
            misaligned=_misaligned(value, output.tensor, target if labels is None else labels),
            ignored=_ignored(link, found),
            softmax=value.softmax if value.shape == tuple(answer.shape) else None,
            class_dim=_class_dim(link, answer.dim()),
            place=place,
        ),
        target_key,
    )


def _torn(link: Link, before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (N, C, ...), where it was viewed as rows of C that are none of its own."""
    rows = 2
    if link.name not in FLATTENING or len(after) != rows or len(before) <= rows:
        return ()
    return before if before[1] == after[1] != before[-1] else ()


def _misaligned(value: _Value, output: Tensor, labels: Tensor) -> Misaligned | None:
    """Whether the order of the entries differs, by shapes that leave no doubt."""
    places = tuple(labels.shape)
    if value.torn and places == (value.torn[0], *value.torn[2:]):
        return Misaligned.TORN
    is_flat = len(value.shape) == 2 and output.dim() == 3  # noqa: PLR2004 - (T, N, C) in rows
    if not is_flat or value.is_reordered or len(places) != 2 or places[0] == places[1]:  # noqa: PLR2004
        return None
    same = value.shape[-1] == output.shape[-1] and places == (output.shape[1], output.shape[0])
    return Misaligned.TRANSPOSED if same else None


def _ignored(link: Link, found: Slice) -> int | None:
    """What nll_loss leaves out; None where weights, a mask or another loss may leave out more."""
    args = link.record.args
    if not link.name.startswith("nll_loss") or len(args) < 5 or args[2] is not None:  # noqa: PLR2004
        return None
    reduction, ignored = args[3:5]
    if reduction == 0:
        results = set(link.result_keys)
        readers = [each for each in found.links if not results.isdisjoint(each.read_keys)]
        follows = readers[:1]
        while follows and follows[0].name in RESHAPING:
            results = set(follows[0].result_keys)
            follows = [e for e in found.links if not results.isdisjoint(e.read_keys)][:1]
        if not follows or follows[0].name not in REDUCING:
            return None
    return ignored if isinstance(ignored, int) else None


def _is_score(value: _Value, target: Tensor) -> bool:
    """Whether each number of one output is multiplied by its own label, as in a hinge loss."""
    return value.is_single and len(value.outputs) == 1 and _entries(value.shape) == _entries(target)


def _entries(shape: Sequence[int] | Tensor) -> list[int]:
    return [size for size in (shape.shape if isinstance(shape, Tensor) else shape) if size != 1]


def _is_of_batch(target: Tensor, output: Tensor) -> bool:
    """Whether a tensor has an entry for each example, unlike weights of classes."""
    return bool(target.dim()) and (
        output.shape[0] in target.shape or target.numel() % output.shape[0] == 0
    )


def _unexpanded(tensor: Tensor) -> tuple[int, ...]:
    """The shape without leading dimensions along which nothing changes in memory."""
    shape, strides = list(tensor.shape), list(tensor.stride())
    while len(shape) > 1 and strides[0] == 0:
        del shape[0], strides[0]
    return tuple(
        1 if stride == 0 and size > 1 else size for size, stride in zip(shape, strides, strict=True)
    )


def _crosses(value: _Value, target: Sequence[int]) -> bool:
    """Whether (N, 1) meets (N): as many entries on both sides, and N times as many pairs.

    Shapes of equal rank, such as (N, 1) and (1, N), were written to meet so, and so was an output
    to which a dimension was added.
    """
    own, other = list(value.shape), list(target)
    higher = max(own, other, key=len)
    if len(own) == len(other) or (higher is own and value.is_raised):
        return False
    if [n for n in own if n != 1] != [n for n in other if n != 1]:
        return False
    together = _broadcast(own, other)
    size = max(_count(own), _count(other))
    return together is not None and size > 1 and _count(together) > size


def _broadcast(first: Sequence[int], second: Sequence[int]) -> list[int] | None:
    length = max(len(first), len(second))
    padded = [[1] * (length - len(shape)) + list(shape) for shape in (first, second)]
    joined = []
    for one, other in zip(*padded, strict=True):
        if one != other and 1 not in {one, other}:
            return None
        joined.append(max(one, other))
    return joined


def _count(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
