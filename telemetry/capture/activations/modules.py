"""Which modules are observed, and how: decided once per model, before any forward."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from telemetry.capture.activations.functions import RECURRENT, module_family
from telemetry.capture.activations.statistics import Family, default_unit_dim
from telemetry.capture.catalogue.catalogue import clean_path

CHANNELS_FIRST = (_ConvNd, _NormBase, nn.GroupNorm)
FEATURES_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding)
PLAIN = (*CHANNELS_FIRST, *FEATURES_LAST, _DropoutNd)
# They hand on what the module before them returned.
TRANSPARENT = (nn.Identity, nn.Flatten, nn.Unflatten)
# In evaluation without gradient these run a fused kernel, unless a hook stands on a module inside.
FAST_PATHS = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
PARAMETRIZATIONS = "parametrizations"
COMPILED = "compiled by torch.compile"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModuleNode:
    """One module of the model.

    Attributes:
        path: As `named_modules()` gives it, without the parts of torch.compile.
        module: The module.
        observed: Its output is recorded: it has no child, or parameters of its own.
        is_block: It has children with parameters and is not the root: its output is recorded where
            it is not that of the last of them.
        recurrent: One of torch's recurrent modules or cells.
        embedding: One of torch's embeddings.
        family: Of an activation function.
        sees_operations: Functional activations in its forward are sites of it; not so inside an
            activation module, which is a site itself, nor among the gates of a recurrent one.
        fast_path: Outermost enclosing module (or itself) with a fused kernel for evaluation.
        has_parameters: It owns parameters itself.
        needs_frame: Its forward may run other modules or functional activations; torch's own
            linear, convolution, normalisation and dropout layers do neither.
    """

    path: str
    module: nn.Module
    observed: bool
    is_block: bool
    recurrent: bool
    embedding: bool
    family: Family | None
    sees_operations: bool
    fast_path: nn.Module | None
    has_parameters: bool
    needs_frame: bool

    def runs_fused(self) -> bool:
        """Whether a forward without gradient takes the fused kernel that hooks would switch off."""
        return self.fast_path is not None and not self.fast_path.training


def module_nodes(
    model: nn.Module, *, runs_eagerly: bool = False
) -> tuple[list[ModuleNode], dict[str, str]]:
    """The modules that can be hooked, and the reason for each subtree that cannot, by path.

    Args:
        model: Unwrapped.
        runs_eagerly: Compiled parts will be run as if they were not.
    """
    nodes: list[ModuleNode] = []
    hidden: dict[str, str] = {}
    for raw_path, module, fast_path in _walk(model, hidden, runs_eagerly=runs_eagerly):
        children = [name for name, _ in module.named_children() if name != PARAMETRIZATIONS]
        own = next(module.parameters(recurse=False), None)
        family = module_family(module)
        path = clean_path(raw_path)
        observed = (not children or own is not None) and not isinstance(module, TRANSPARENT)
        recurrent = isinstance(module, RECURRENT)
        nodes.append(
            ModuleNode(
                path=path,
                module=module,
                observed=observed,
                is_block=bool(path and children and not observed and has_parameters(module)),
                recurrent=recurrent,
                embedding=isinstance(module, EMBEDDINGS),
                family=family,
                sees_operations=family is None and not recurrent,
                fast_path=fast_path,
                has_parameters=own is not None,
                needs_frame=bool(children) or not is_plain(module),
            )
        )
    return nodes, hidden


def modules_signature(model: nn.Module) -> tuple[int, int]:
    """Changes when modules come or go, and when one is compiled in place; quickly told."""
    n_modules = n_compiled = 0
    for module in model.modules():
        own = module.__dict__
        n_modules += 1
        n_compiled += "_compiled_call_impl" in own or "forward" in own
    return n_modules, n_compiled


def _walk(
    model: nn.Module, hidden: dict[str, str], *, runs_eagerly: bool
) -> Iterator[tuple[str, nn.Module, nn.Module | None]]:
    seen: set[nn.Module] = set()
    stack: list[tuple[str, nn.Module, nn.Module | None]] = [("", model, None)]
    while stack:
        path, module, fast_path = stack.pop()
        if module in seen:
            continue
        seen.add(module)
        reason = unobservable(module, runs_eagerly=runs_eagerly)
        if reason is not None:
            hidden[clean_path(path)] = reason
            continue
        if fast_path is None and isinstance(module, FAST_PATHS):
            fast_path = module
        if not hasattr(module, "_orig_mod"):  # of torch.compile, around the module itself
            yield path, module, fast_path
        children = [
            (f"{path}.{name}" if path else name, child, fast_path)
            for name, child in module.named_children()
            if name != PARAMETRIZATIONS
        ]
        stack.extend(reversed(children))


def has_parameters(module: nn.Module) -> bool:
    """Whether there are any in it."""
    return next(module.parameters(), None) is not None


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a layer of torch itself, whose forward is one operation."""
    return isinstance(module, PLAIN) and type(module).__module__.startswith("torch.nn.")


def unobservable(module: nn.Module, *, runs_eagerly: bool = False) -> str | None:
    """Why no hook may stand on a module or inside it; None if it may."""
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript modules run without hooks"
    if runs_eagerly:
        return None
    compiled = (
        hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(module.forward, "_torchdynamo_orig_callable")
    )
    return COMPILED if compiled else None


def first_tensor(output: object) -> Tensor | None:
    """The first tensor of what a module returned: of tuples, lists, dictionaries, data classes."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, tuple | list):
        for item in output:
            found = first_tensor(item)
            if found is not None:
                return found
    return None


class UnitDims:
    """Which dimension holds the units of a tensor, learnt from what linear and conv layers return.

    A 4-d activation may be an image with channels in front or tokens with features at the end;
    the shape that the last layer of either kind returned tells them apart.
    """

    def __init__(self) -> None:
        self._dims: dict[torch.Size, int] = {}

    def learn(self, module: nn.Module, output: Tensor) -> None:
        """Remember where the units of an output of this module are."""
        if isinstance(module, CHANNELS_FIRST) and output.dim() > 1:
            # A convolution without batch dimension has its channels first.
            unbatched = isinstance(module, _ConvNd) and output.dim() < module.weight.dim()
            self._dims[output.shape] = 0 if unbatched else 1
        elif isinstance(module, FEATURES_LAST) and output.dim():
            self._dims[output.shape] = output.dim() - 1

    def of(self, output: Tensor) -> int | None:
        """The dimension; None for a scalar."""
        known = self._dims.get(output.shape)
        return default_unit_dim(output.dim()) if known is None else known
