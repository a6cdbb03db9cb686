"""Names of everything that is recorded: the tables `tensors` and `modules`."""

import hashlib
import logging
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import parameters_of
from telemetry.capture.catalogue.module_roles import class_name, fan_in, plain_attributes, role_of
from telemetry.capture.catalogue.optimizer_rules import is_adam_type
from telemetry.capture.catalogue.packet import CataloguePacket, Kind, ModuleRow, TensorRow
from telemetry.capture.tensors.plain import is_sharded, n_real, storage_key
from telemetry.format.foreign_names import foreign_name

logger = logging.getLogger(__name__)

ID_BITS = 53  # exact in JSON and DOUBLE
_WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel)
_COMPILED = "_orig_mod"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterEntry:
    """Name and ids of one parameter.

    Attributes:
        name: Full name, `optimizer.<i>.<k>` for a parameter that is not the model's.
        param_id: Id of its weight rows.
        lr_group: Parameter group over all optimizers; None: in no observed optimizer.
        ids: Ids of its rows by kind.
    """

    name: str
    param_id: int
    lr_group: int | None
    ids: Mapping[Kind, int]


class Catalogue:
    """Parameters and modules of one model and its optimizers, by name and id.

    Args:
        model: The module that is trained; DDP and torch.compile are unwrapped.
        optimizers: Every observed optimizer.

    Attributes:
        model: The unwrapped root.
        optimizers: As given.
        revision: Grows whenever an entry changes; plans made from older entries are stale.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        self.model = unwrap(model)
        self.optimizers = tuple(optimizers)
        self.revision = 0
        self._ids = IdRegistry()
        self._paths: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
        self._modules: dict[str, ModuleRow] = {}
        self._entries: dict[int, tuple[weakref.ref[Tensor], ParameterEntry]] = {}
        self._tensors: dict[int, TensorRow] = {}
        self._groups: dict[tuple[int, int], int] = {}
        self._order: dict[str, int] = {}
        self._shared: frozenset[int] = frozenset()
        self._changed = False
        self._registered = self._fingerprint()
        self._register()

    def module_path(self, module: nn.Module) -> str | None:
        """Path of a module of the model, '' for the root; None for a foreign one."""
        return self._paths.get(module)

    def module_id(self, path: str) -> int:
        """Id of a module path."""
        return self._ids.of(path)

    def entry(self, parameter: Tensor) -> ParameterEntry | None:
        """Name and ids of a parameter; None when it was never seen."""
        found = self._entries.get(id(parameter))
        return found[1] if found is not None and found[0]() is parameter else None

    @property
    def of_several_optimizers(self) -> frozenset[int]:
        """Identities of the parameters that more than one observed optimizer holds."""
        return self._shared

    def without_optimizer(self) -> list[Tensor]:
        """Parameters of the model that require a gradient and are in no observed optimizer."""
        return [
            parameter
            for parameter in self.model.parameters()
            if parameter.requires_grad
            and (entry := self.entry(parameter)) is not None
            and entry.lr_group is None
        ]

    def in_forward_order(self) -> list[tuple[str, str, Tensor]]:
        """Name, module path and parameter, each once: as the forward comes to their modules.

        Parameters of modules that were not seen to run come last, as they were registered.
        """
        self.refresh()
        named: dict[int, tuple[str, str, Tensor]] = {}
        for name, module, parameter in self._named_parameters():
            named.setdefault(id(parameter), (name, self._paths[module], parameter))
        last = len(self._order)
        return sorted(named.values(), key=lambda found: self._order.get(found[1], last))

    def set_execution_order(self, paths: Sequence[str]) -> None:
        """Take the order of first calls in a forward as depth of modules and their tensors.

        An order that names fewer modules than the one that is known says nothing new: of a forward
        whose compiled parts are hidden, after one in which they were not.
        """
        order = {path: depth for depth, path in enumerate(dict.fromkeys(paths))}
        if len(order) < len(self._order):
            return
        self._order = order
        self._changed = True

    def refresh(self) -> bool:
        """Register what was added to the model or the optimizers.

        Returns:
            Whether something changed since the last `packet`.
        """
        fingerprint = self._fingerprint()
        if fingerprint != self._registered:
            self._registered = fingerprint
            self._register()
        return self._changed

    @property
    def has_changed(self) -> bool:
        """Whether something changed since the last `packet`."""
        return self._changed

    def packet(self) -> CataloguePacket:
        """The rows of both tables as they are now."""
        self._changed = False
        return CataloguePacket(
            tensors=tuple(self._tensors.values()),
            modules=tuple(self._modules.values()),
            order=dict(self._order),
        )

    # --- registration -------------------------------------------------------------------------

    def _fingerprint(self) -> list[object]:
        """Equal as long as registering would find nothing new; 20 times cheaper."""
        found: list[object] = []
        for module in self.model.modules():
            found.append(id(module))
            own = module.parameters(recurse=False)
            found.extend((id(parameter), type(parameter), parameter.dtype) for parameter in own)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                found.append(len(group["params"]))
                found.extend(map(id, group["params"]))
        return found

    def _register(self) -> None:
        known_modules = self._modules.copy()
        for path, module in self.model.named_modules():
            self._register_module(clean_path(path), module)
        groups = self._lr_groups()
        adam_type = {
            id(parameter)
            for optimizer in filter(is_adam_type, self.optimizers)
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        entries: dict[int, tuple[weakref.ref[Tensor], ParameterEntry]] = {}
        storages: dict[tuple[int, ...], int] = {}
        rows: dict[int, TensorRow] = {}
        for name, module, parameter in self._named_parameters():
            entry = self._new_entry(name, groups.get(id(parameter)))
            is_alias = id(parameter) in entries
            if not is_alias:
                entries[id(parameter)] = (weakref.ref(parameter), entry)
            owner = storages.setdefault(storage_key(parameter), entry.param_id)
            # A module of several names is known by its first.
            row = self._weight_row(entry, self._paths[module], module, parameter)
            row = replace(row, shared_with=None if owner == entry.param_id else owner)
            for kind in _kinds(is_alias=is_alias, has_moments=id(parameter) in adam_type):
                rows[entry.ids[kind]] = replace(row, tensor_id=entry.ids[kind], kind=kind)
        if self._known(self._entries) != self._known(entries):
            self.revision += 1
        self._changed |= known_modules != self._modules or rows != self._tensors
        self._entries = entries
        self._tensors = rows

    @staticmethod
    def _known(
        entries: Mapping[int, tuple[weakref.ref[Tensor], ParameterEntry]],
    ) -> dict[int, ParameterEntry]:
        return {key: entry for key, (_, entry) in entries.items()}

    def _register_module(self, path: str, module: nn.Module) -> None:
        self._paths[module] = path
        own = [p for p in module.parameters(recurse=False) if not is_lazy(p)]
        self._modules[path] = ModuleRow(
            module_id=self.module_id(path),
            parent_id=self.module_id(path.rpartition(".")[0]) if path else None,
            path=path,
            type=class_name(module),
            n_parameters=sum(parameter.numel() for parameter in own),
            role=role_of(module),
            attributes=plain_attributes(module),
        )

    def _named_parameters(self) -> Iterator[tuple[str, nn.Module, Tensor]]:
        """Name, module and parameter: all names of the model's, then the optimizers' own."""
        seen: set[int] = set()
        for path, module in _all_names("", self.model, frozenset()):
            for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
                if not is_lazy(parameter):
                    seen.add(id(parameter))
                    yield clean_path(f"{path}.{name}" if path else name), module, parameter
        for index, optimizer in enumerate(self.optimizers):
            for position, own in enumerate(parameters_of(optimizer)):
                if id(own) not in seen and not is_lazy(own):
                    seen.add(id(own))
                    yield foreign_name(index, position), self.model, own

    def _lr_groups(self) -> dict[int, int]:
        """Number of the parameter group that each parameter is in; the first one counts."""
        result: dict[int, int] = {}
        holders: Counter[int] = Counter()
        for index, optimizer in enumerate(self.optimizers):
            for position, group in enumerate(optimizer.param_groups):
                number = self._groups.setdefault((index, position), len(self._groups))
                holders.update(map(id, group["params"]))
                for parameter in group["params"]:
                    result.setdefault(id(parameter), number)
        self._shared = frozenset(key for key, n_holders in holders.items() if n_holders > 1)
        return result

    def _new_entry(self, name: str, lr_group: int | None) -> ParameterEntry:
        ids = {kind: self._ids.of(name, kind) for kind in Kind}
        return ParameterEntry(name=name, param_id=ids[Kind.WEIGHT], lr_group=lr_group, ids=ids)

    def _weight_row(
        self, entry: ParameterEntry, path: str, module: nn.Module, parameter: Tensor
    ) -> TensorRow:
        former = self._tensors.get(entry.param_id)
        # A GAN freezes its discriminator for a while; what counts is how it was registered.
        same = former is not None and self.entry(parameter) is not None
        return TensorRow(
            tensor_id=entry.param_id,
            param_id=entry.param_id,
            name=entry.name,
            kind=Kind.WEIGHT,
            module=path,
            module_id=self.module_id(path),
            module_type=class_name(module),
            shape=tuple(parameter.shape),
            dtype=str(parameter.dtype).removeprefix("torch."),
            n=n_real(parameter),
            fan_in=fan_in(parameter, module),
            lr_group=entry.lr_group,
            trainable=former.trainable if former is not None and same else parameter.requires_grad,
            shared_with=None,
            sharding="sharded" if is_sharded(parameter) else "replicated",
        )


def _all_names(
    path: str, module: nn.Module, above: frozenset[nn.Module]
) -> Iterator[tuple[str, nn.Module]]:
    """Each module under each of its names; one that holds itself is not entered again."""
    yield path, module
    for name, child in module._modules.items():  # noqa: SLF001 - named_children() leaves out second names
        if child is not None and child is not module and child not in above:
            yield from _all_names(f"{path}.{name}" if path else name, child, above | {module})


def _kinds(*, is_alias: bool, has_moments: bool) -> Sequence[Kind]:
    """Kinds of rows that a parameter has; a second name of it stands for its weight alone."""
    if is_alias:
        return (Kind.WEIGHT,)
    return tuple(Kind) if has_moments else (Kind.WEIGHT, Kind.GRADIENT, Kind.UPDATE)


class IdRegistry:
    """Ids of names: the first 53 bits of blake2b over the parts joined by NUL."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, ...]] = {}
        self._ids: dict[tuple[str, ...], int] = {}

    def of(self, *parts: str) -> int:
        """The id; a second name with the same hash gets a salted one, which is logged."""
        known = self._ids.get(parts)
        if known is not None:
            return known
        salted = parts
        while self._names.setdefault(hash_id(*salted), parts) != parts:
            salted = (*salted, "salt")
            logger.warning(
                "the id of %s is already used by another name; it gets a different one", parts
            )
        return self._ids.setdefault(parts, hash_id(*salted))


def hash_id(*parts: str) -> int:
    """First 53 bits of blake2b over the parts joined by NUL."""
    digest = hashlib.blake2b("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - ID_BITS)


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside DDP, DataParallel and torch.compile."""
    while True:
        compiled = getattr(model, _COMPILED, None)
        if isinstance(model, _WRAPPERS):
            model = model.module
        elif isinstance(compiled, nn.Module):
            model = compiled
        else:
            return model


def clean_path(path: str) -> str:
    """A module path without the parts that torch.compile of a submodule puts in."""
    if _COMPILED not in path:
        return path
    return ".".join(part for part in path.split(".") if part != _COMPILED)
