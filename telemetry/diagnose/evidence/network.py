"""The network as its catalogue describes it: matrices in the order of execution, and their owners.

"Matrix" is a trainable parameter of at least two dimensions that is not an embedding (nor tied to
one), not a low-rank adapter and not a learned constant such as a position table: what a depth
profile of gradients can be read from.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telemetry.diagnose.tags import is_frozen
from telemetry.format.foreign_names import is_foreign
from telemetry.json_values import json_integer, parsed_list
from telemetry.store.sessions.rows import Rows, SqlValue, as_text

ADAPTER = re.compile(r"lora_|adapter_[ab]\b", re.IGNORECASE)
TABLE = re.compile(
    r"(?<![a-z])emb|embed|codebook|prototype|(?<![a-z])pos|tok(?:en)?s?$", re.IGNORECASE
)
LAYER_TYPE = re.compile(r"Linear|Conv")
LAST = 1_000_000_000  # depth of what never ran: after everything that did


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of the catalogue.

    Attributes:
        id: Its `param_id`.
        name: Full name.
        layer: Path of the owning module.
        depth: Execution order of that module; large when it never ran.
        n: Elements.
        fan_in: Elements per output row.
        rows: Output rows; 1 for a vector.
        is_matrix: Whether depth profiles include it (module docstring).
        trainable: It requires gradients, and no tag `frozen:PATTERN` fits it.
        lr_group: Parameter group over all optimizers; None: in no observed optimizer.
    """

    id: int
    name: str
    layer: str
    depth: int
    n: int
    fan_in: int
    rows: int
    is_matrix: bool
    trainable: bool
    lr_group: int | None
    dtype: str

    @property
    def norm_floor(self) -> float:
        """A tenth of the usual norm sqrt(n / fan_in): the start of what begins at zero."""
        return 0.1 * math.sqrt(self.n / self.fan_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module of the catalogue; `id` is its `module_id`."""

    id: int
    path: str
    type: str
    depth: int
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Parameters and modules in the order of execution.

    `n_foreign` counts tensors of the optimizers that are not the model's.
    """

    parameters: tuple[Parameter, ...]
    modules: tuple[Module, ...]
    n_foreign: int = 0

    @property
    def matrices(self) -> tuple[Parameter, ...]:
        """Matrices in the order of execution: the last one is the head."""
        return tuple(p for p in self.parameters if p.is_matrix)

    @property
    def tables(self) -> tuple[Parameter, ...]:
        """Trainable parameters of several rows that are no matrices: embeddings, adapters."""
        return tuple(p for p in self.parameters if p.trainable and p.rows > 1 and not p.is_matrix)

    @property
    def chain(self) -> tuple[Module, ...]:
        """Linear and convolution modules in the order of execution: where gains are measured."""
        owners = {p.layer for p in self.matrices}
        return tuple(m for m in self.modules if m.role in {"linear", "conv"} and m.path in owners)

    @property
    def root_id(self) -> int:
        """Id of the root module; 0 when it is not in the catalogue."""
        return next((module.id for module in self.modules if not module.path), 0)

    @property
    def recurrent(self) -> frozenset[str]:
        """Paths of recurrent modules: the depth of their gradient is the length of a sequence."""
        return frozenset(module.path for module in self.modules if module.role == "recurrent")

    def caller_of(self, path: str) -> str:
        """The module whose forward runs another: its owner, past lists, which have no forward."""
        lists = {module.path for module in self.modules if module.depth == LAST}
        owner = path.rpartition(".")[0]
        while owner in lists and owner:
            owner = owner.rpartition(".")[0]
        return owner

    def depth_of(self, path: str) -> int:
        """Execution order of a module; large when it never ran."""
        return next((m.depth for m in self.modules if m.path == path), LAST)


PARAMETERS_SQL = """
SELECT
    t.tensor_id,
    t.name,
    t.module,
    t.module_type,
    t.depth,
    t.shape,
    t.dtype,
    t.n,
    t.fan_in,
    t.lr_group,
    t.trainable,
    t.shared_with
FROM tensors AS t
WHERE t.run = $run
    AND t.kind = 'weight'
ORDER BY t.depth, t.name
"""

MODULES_SQL = """
SELECT
    m.module_id,
    m.path,
    m.type,
    m.depth,
    m.role
FROM modules AS m
WHERE m.run = $run
ORDER BY m.depth, m.path
"""


def network(parameters: Rows, modules: Rows, *, tags: Sequence[str] = ()) -> Network:
    """The network from the rows of `PARAMETERS_SQL` and `MODULES_SQL`, and the run's tags."""
    records = parameters.records()
    tables = [r for r in records if "embedding" in as_text(r["module_type"]).lower()]
    embeddings = {r["tensor_id"] for r in tables} | {r["shared_with"] for r in tables}
    found = [
        _parameter(record, embeddings, tags)
        for record in records
        if record["shared_with"] is None and not is_foreign(as_text(record["name"]))
    ]
    return Network(
        parameters=tuple(sorted(found, key=lambda p: (p.depth, p.name))),
        modules=tuple(
            sorted(
                (
                    Module(
                        id=_integer(record["module_id"], 0),
                        path=as_text(record["path"]),
                        type=as_text(record["type"]),
                        depth=_integer(record["depth"], LAST),
                        role=as_text(record["role"]),
                    )
                    for record in modules.records()
                ),
                key=lambda m: (m.depth, m.path),
            )
        ),
        n_foreign=sum(is_foreign(as_text(record["name"])) for record in records),
    )


def _parameter(
    record: Mapping[str, SqlValue], embeddings: set[SqlValue], tags: Sequence[str]
) -> Parameter:
    n = _integer(record["n"], 0)
    group = record["lr_group"]
    name, layer = as_text(record["name"]), as_text(record["module"])
    trainable = bool(record["trainable"]) and not is_frozen(tags, name, layer)
    tied = record["tensor_id"] in embeddings
    return Parameter(
        id=_integer(record["tensor_id"], 0),
        name=name,
        layer=layer,
        depth=_integer(record["depth"], LAST),
        n=n,
        fan_in=max(1, _integer(record["fan_in"], 1)),
        rows=(_shape(record) or (1,))[0],
        is_matrix=trainable and not tied and _looks_like_a_layer(record),
        trainable=trainable,
        lr_group=group if isinstance(group, int) else None,
        dtype=as_text(record["dtype"]),
    )


def _looks_like_a_layer(record: Mapping[str, SqlValue]) -> bool:
    name, shape = as_text(record["name"]), _shape(record)
    if len(shape) < 2 or ADAPTER.search(name):  # noqa: PLR2004 - a matrix has two
        return False
    if LAYER_TYPE.search(as_text(record["module_type"])) and name.endswith("weight"):
        return True
    # A learned constant of another module: tables of positions, and gains that are broadcast.
    return not TABLE.search(name) and shape[0] > 1 and math.prod(shape[1:]) > 1


def _shape(record: Mapping[str, SqlValue]) -> tuple[int, ...]:
    sizes = parsed_list(as_text(record["shape"]))
    known = [json_integer(size, least=0) for size in sizes]
    return tuple(size for size in known if size is not None) if None not in known else ()


def _integer(value: SqlValue, fallback: int) -> int:
    return value if isinstance(value, int) else fallback
