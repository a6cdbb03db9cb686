"""Whether a model that is trained to predict a token is given it.

Two facts together: the targets are the tokens that the model was given, one place on; and every
attention or recurrence between these tokens and the loss reads places that come later. Places whose
targets do not count, such as a prompt, may see each other. Or the targets are the tokens at their
own places, and each place reaches the loss by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import Node

from telemetry.capture.structure.graph import Graph, Shape, is_hidden, saved, saved_dim, shape_of
from telemetry.capture.structure.linear_maps import MATRIX_PRODUCTS
from telemetry.capture.tensors.graph_leaves import base_name
from telemetry.capture.tensors.loss_graph import LossInputs

FUSED = "ScaledDotProduct"
SOFTMAXES = frozenset({"SafeSoftmax", "Softmax"})
MASKS = ("attn_mask", "attn_bias")
MASK_LEVEL = -5000.0  # what lies below is masked: -inf, the least of a type, or -1e4
MIN_PLACES = 3
MIN_TOLD = 8  # tokens that differ from the one before: fewer agree by chance
MAX_WEIGHTS = 1 << 20  # of one attention that are looked at
MATRIX_DIMS = 2
MAX_BETWEEN = 8  # operations between a product and its softmax
MAX_TABLES = 4  # embeddings of tokens that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Future:
    """What is known of it; 0-d tensors on their device.

    Attributes:
        next_share: Of the targets that differ from the token at their place, the share that is the
            next one.
        own_share: Of the same targets, the share that is the token at their own place, where all
            tokens of the model reach the loss place by place, else 0.
        seen_share: Of the pairs of a place and a later one, the share that attention has open,
            where all targets are the next tokens, else 0; None without any attention.
    """

    next_share: Tensor
    own_share: Tensor
    seen_share: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    """Tokens and their targets, shape (n_sequences, n_places), which may be views.

    Attributes:
        node: The embedding that read the tokens.
        n_places: Of each sequence.
        n_read: Places of each that the loss reads, which may be one less.
        counts: Where there is a target that counts, shape (n_sequences, n_places - 1).
        share: That are the next token.
        own_share: That are the token at their own place; NaN where these tell nothing: too few
            that differ, or the same in every sequence, as numbers of places are.
    """

    node: Node
    n_places: int
    n_read: int
    counts: Tensor
    share: Tensor
    own_share: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """Weights or a mask, shape (..., n_places, n_places): what is seen lies above the level."""

    values: Tensor
    level: float


def future(graph: Graph, losses: Sequence[LossInputs]) -> Future | None:
    """What a loss of classes tells; None where no embedding reads as many tokens as it has targets.

    Args:
        graph: Of the loss.
        losses: Inputs of the losses in it.
    """
    loss = next((each for each in losses if each.target is not None), None)
    if loss is None or loss.target is None or loss.target.is_floating_point():
        return None
    with torch.no_grad():
        tables = [node for node in graph.nodes if base_name(node) == "Embedding"][:MAX_TABLES]
        found = [each for node in tables for each in _tokens(node, loss.target, loss.ignored)]
        if not found:
            return None
        shares = torch.stack([each.share for each in found])
        own = torch.stack([each.own_share for each in found])
        # Every table that tells something, and there is one.
        own = torch.minimum(own.nan_to_num(1.0).amin(), own.nan_to_num(0.0).amax())
        is_open = _stay_in_place(graph, found)
        seen = [_seen(graph, each) for each in found]
        told = [share for share in seen if share is not None]
        return Future(
            next_share=shares.amax(),
            own_share=own if is_open else torch.zeros_like(own),
            seen_share=torch.stack(told).amax() if told else None,
        )


def _tokens(node: Node, target: Tensor, ignored: int | None) -> Iterator[_Tokens]:
    """The tokens of an embedding, along each of their axes that the targets fit."""
    tokens = saved(node, "indices")
    if tokens is None or tokens.dim() != MATRIX_DIMS or tokens.device != target.device:
        return
    for axis in (1, 0):
        n_places = tokens.shape[axis]
        shifted = list(tokens.shape)
        shifted[axis] -= 1
        if n_places < MIN_PLACES:
            continue
        if target.numel() == tokens.numel():
            wanted = target.reshape(tokens.shape).narrow(axis, 0, n_places - 1)
        elif target.numel() == shifted[0] * shifted[1]:
            wanted = target.reshape(shifted)
        else:
            continue
        here, following = tokens.narrow(axis, 0, n_places - 1), tokens.narrow(axis, 1, n_places - 1)
        counts = torch.ones_like(wanted, dtype=torch.bool) if ignored is None else wanted != ignored
        told = counts & (here != following)
        n_told = told.sum()
        is_known = n_told >= MIN_TOLD
        share, own_share = (
            (told & (wanted == known)).sum() / n_told.clamp(min=1) for known in (following, here)
        )
        is_alike = (tokens == tokens[:1]).all() if len(tokens) > 1 else ~is_known
        yield _Tokens(
            node=node,
            n_places=n_places,
            n_read=target.numel() // tokens.shape[1 - axis],
            counts=counts if axis == 1 else counts.T,
            share=torch.where(is_known, share, 0.0),
            own_share=torch.where(is_known & ~is_alike, own_share, torch.nan),
        )


def _seen(graph: Graph, tokens: _Tokens) -> Tensor | None:
    """The least share of later places that any attention over these tokens has open."""
    among = graph.after(tokens.node)
    sites = [node for node in graph.nodes if node in among and _is_attention(node, tokens.n_places)]
    reading = _by_place(graph, tokens) if sites else set()
    shares: list[Tensor | float] = []
    masks: set[tuple[int, tuple[int, ...]]] = set()  # layers mostly have one together
    for node in sites:
        seen = _seen_by(node, among) if node in reading else None
        if isinstance(seen, _Weights):
            key = seen.values.data_ptr(), seen.values.stride()
            share = None if key in masks else _share(seen, tokens)
            masks.add(key)
            shares.extend([] if share is None else [share])
        elif seen == 0:
            return torch.zeros_like(tokens.share)
        elif seen is not None:
            shares.append(seen)
    if not shares:
        return None
    # A number that is copied to the device would have to be waited for.
    told = [s if isinstance(s, Tensor) else torch.full_like(tokens.share, s) for s in shares]
    least = torch.stack(told).amin()
    return torch.where(tokens.share == 1, least, 0.0)


def _is_attention(node: Node, n_places: int) -> bool:
    """Whether it is one of so many places to as many."""
    base, shape = base_name(node), shape_of(node)
    if base in SOFTMAXES:
        return shape[-2:] == (n_places, n_places) and saved_dim(node) == len(shape) - 1
    if not base.startswith(FUSED) or shape[-2:-1] != (n_places,):
        return False
    key, place = node.next_functions[1]
    return key is not None and shape_of(key, place)[-2:-1] == (n_places,)


def _seen_by(node: Node, among: set[Node]) -> _Weights | float | None:
    """What an attention sees; a number where that is all of the tokens or none that is later.

    None where it is not among these tokens alone, and for masks that cannot be read.
    """
    if base_name(node) in SOFTMAXES:
        is_among = all(each in among for each in _product_of(node))
        weights = saved(node, "result") if is_among else None
        return None if weights is None else _Weights(values=weights, level=0.0)
    is_among = all(each in among for each, _ in node.next_functions[:2])
    return _of_fused(node) if is_among else None


def _of_fused(node: Node) -> _Weights | float | None:
    if getattr(node, "_saved_is_causal", False):
        return 0.0
    # One kind of this operation keeps no mask, for it takes none.
    name = next((name for name in MASKS if hasattr(node, f"_raw_saved_{name}")), None)
    if name is None:
        return 1.0
    mask = saved(node, name)
    if mask is None:
        return None if is_hidden(node, name) else 1.0
    return _Weights(values=mask, level=MASK_LEVEL)


def _share(weights: _Weights, tokens: _Tokens) -> Tensor | None:
    """Share of the pairs of a place that counts and a later one that it sees."""
    values, n = weights.values, tokens.n_places
    if values.dim() < MATRIX_DIMS or tuple(values.shape[-2:]) != (n, n):
        return None
    counts = torch.nn.functional.pad(tokens.counts, (0, 1))
    matrices = values.reshape(-1, n, n)
    if len(matrices) % len(counts) == 0:  # one of the heads of each sequence
        matrices = matrices[:: len(matrices) // len(counts)]
        most = max(1, MAX_WEIGHTS // (n * n))
        matrices, counts = matrices[:most], counts[:most]
    else:
        matrices, counts = matrices[:1], counts.any(0, keepdim=True)
    later = counts.unsqueeze(-1).expand(-1, n, n).triu(1)
    is_open = matrices if matrices.dtype is torch.bool else matrices > weights.level
    return (is_open & later).sum() / later.sum().clamp(min=1)


def _product_of(node: Node) -> tuple[Node | None, ...]:
    """The queries and the keys whose product a softmax reads, past scales and masks."""
    for _ in range(MAX_BETWEEN):
        following = next((each for each, _ in node.next_functions if each is not None), None)
        if following is None:
            break
        node = following
        places = MATRIX_PRODUCTS.get(base_name(node))
        if places is not None:
            return tuple(node.next_functions[place][0] for place in places)
    return (None,)


def _stay_in_place(graph: Graph, found: Sequence[_Tokens]) -> bool:
    """Whether all tokens reach the loss without having been put together into one vector.

    Recurrences that torch runs place after place are not followed.
    """
    alike: dict[Shape, set[Node]] = {}  # one walk for all that have the same sizes
    for each in found:
        sizes = (each.n_places, each.n_read, len(each.counts))
        alike.setdefault(sizes, set()).add(each.node)
    return all(nodes <= _reached(graph, _keeps_places(*sizes)) for sizes, nodes in alike.items())


def _keeps_places(n_places: int, n_read: int, n_sequences: int) -> Callable[[Shape], bool]:
    """Whether a shape has a dimension for the places, or one for those of all sequences."""
    sizes = {n_places, n_read}
    flat = {n_sequences * size for size in sizes}

    def keeps(shape: Shape) -> bool:
        return bool((sizes if len(shape) > MATRIX_DIMS else flat).intersection(shape))

    return keeps


def _by_place(graph: Graph, tokens: _Tokens) -> set[Node]:
    """What reaches the loss place by place, and not as one sum of them all."""
    places = {tokens.n_places, tokens.n_read}

    def keeps(shape: Shape) -> bool:
        return any(size and size % n == 0 for size in shape for n in places)

    return _reached(graph, keeps)


def _reached(graph: Graph, keeps: Callable[[Shape], bool]) -> set[Node]:
    """What the outputs are made of, as far back as the shapes of results keep the places."""
    found, waiting = set(graph.outputs), list(graph.outputs)
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is None or node in found:
                continue
            found.add(node)
            if keeps(shape_of(node)):
                waiting.append(node)
    return found
