"""Blocks of parameters that lie on one device: their layout, their buffers, the sample before."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from telemetry.capture.catalogue.catalogue import ParameterEntry
from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.rows import RowNames
from telemetry.capture.parameters.statistic import Previous, Workspace
from telemetry.capture.tensors.plain import is_row_shard, is_sharded, n_copies, plain
from telemetry.capture.tensors.position_hash import splitmix64
from telemetry.capture.tensors.sample_plan import (
    ROW_LENGTH,
    Buffer,
    IntArray,
    Segments,
    TensorPlan,
    limit_of,
    plan_tensor,
)

# Elements of one block: on a CPU its buffers stay near the cache, elsewhere launches are dear.
HOST_BLOCK_ELEMENTS = 1 << 20
DEVICE_BLOCK_ELEMENTS = 1 << 25
WIDE_TYPES = frozenset({torch.float64, torch.complex128})
HALF_TYPES = frozenset({torch.float16, torch.bfloat16})
N_PROBES = 16  # parameters in the checksum


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """One parameter of a block.

    Attributes:
        parameter: As the optimizer holds it.
        entry: Its name and ids.
        plan: Which elements of its plain form are read.
        group: Index of its parameter group in its optimizer; 0 without optimizer.
        is_plain: Whether it is its own plain form.
        is_probe: Whether it is part of the checksum.
    """

    parameter: Tensor
    entry: ParameterEntry
    plan: TensorPlan
    group: int
    is_plain: bool
    is_probe: bool


class ParameterBlock:
    """Some parameters of one device and width: layout, buffers, and the sample before.

    Attributes:
        members: Its parameters, in the order of all per-tensor results.
        groups: Index of each parameter's group, shape (n_parameters,).
        is_sharded: Which parameters several ranks hold together, shape (n_parameters,).
        row_shards: Which of them are rows of a matrix of at least two.
        shares: Of what a rank adds to the sum over ranks: 1 for a shard, less where several ranks
            hold it, 0 for a replicated parameter; float64, shape (n_parameters,); None where all
            are replicated.
        names: Ids of the rows of each kind.
        segments: Where their samples lie.
        former_weight: The weights one sample ago, of parameters in no optimizer.
        low_precision: Which weights are float16 or bfloat16; None where none is.
    """

    def __init__(self, members: Sequence[Member], workspace: Workspace, dtype: torch.dtype) -> None:
        self.members = tuple(members)
        self.parameters = [member.parameter for member in members]
        self.groups: IntArray = np.array([m.group for m in members], dtype=np.int64)
        self.dtype = dtype
        self.n_sampled: IntArray = np.array([m.plan.n_sampled for m in members], dtype=np.int64)
        self.is_sharded = np.array([is_sharded(parameter) for parameter in self.parameters])
        self.row_shards = [is_row_shard(parameter) for parameter in self.parameters]
        self.names = row_names(
            [m.entry for m in members],
            [m.plan.n for m in members],
            is_sharded=self.is_sharded.tolist(),
        )
        self.segments = Segments([m.plan for m in members], device=workspace.first.device)
        rows = self.segments.n_rows
        self.workspace = Workspace(
            first=workspace.first[:rows],
            integers=workspace.integers[:rows],
        )
        self.shares = self._shares()
        self.weight = Buffer(self.segments, dtype)
        self.gradients = (Buffer(self.segments, dtype), Buffer(self.segments, dtype))
        self.updates = (Buffer(self.segments, dtype), Buffer(self.segments, dtype))
        self.previous_gradient: Previous | None = None
        self.previous_update: Previous | None = None
        self.former_weight: Tensor | None = None
        self._moments: dict[int, Buffer] = {}
        self._absent = torch.zeros((), dtype=dtype, device=self.segments.device)
        is_low = [parameter.dtype in HALF_TYPES for parameter in self.parameters]
        self.low_precision = (
            self.segments.move(torch.from_numpy(np.array(is_low))) if any(is_low) else None
        )
        self._probe_rows, self._probe_weights = self._probes()

    def weights(self) -> list[Tensor | None]:
        """The parameters as plain tensors."""
        return [m.parameter if m.is_plain else plain(m.parameter) for m in self.members]

    def moment(self, order: int) -> Buffer:
        """The buffer of the first or second moment, made when first wanted."""
        if order not in self._moments:
            self._moments[order] = Buffer(self.segments, self.dtype)
        return self._moments[order]

    def whole(self, tensors: Sequence[Tensor | None]) -> list[Tensor]:
        """The tensors with a zero in place of None, whose results nobody reads."""
        return [self._absent if tensor is None else tensor for tensor in tensors]

    def swap(self) -> None:
        """What was written last becomes the sample before."""
        self.gradients = self.gradients[::-1]
        self.updates = self.updates[::-1]

    def checksum(self, rows: Tensor) -> Tensor:
        """Sum of bits times position hashes over the probes' first rows, modulo 2^64, 0-d.

        Differs, up to collisions, when any probed element or its place differs.
        """
        probed = rows.index_select(0, self._probe_rows)
        bits = probed.view(self.workspace.integers.dtype).long()
        return bits.mul_(self._probe_weights).sum()

    def _shares(self) -> Tensor | None:
        if not self.is_sharded.any():
            return None
        copies = np.array([n_copies(parameter) for parameter in self.parameters])
        dtype = np.float32 if self.segments.device.type == "mps" else np.float64
        return self.segments.move(torch.from_numpy((self.is_sharded / copies).astype(dtype)))

    def _probes(self) -> tuple[Tensor, Tensor]:
        rows: list[int] = []
        salts: list[int] = []
        for segment, member in enumerate(self.members):
            if member.is_probe:
                first = int(self.segments.layout.first_rows[segment])
                rows.append(first)
                salts.append(member.entry.param_id)
        index = torch.from_numpy(np.array(rows, dtype=np.int64))
        return self.segments.move(index), self.segments.move(torch.from_numpy(_weights(salts)))


def plan_blocks(
    parameters: Sequence[tuple[Tensor, ParameterEntry, int]],
) -> tuple[list[ParameterBlock], list[tuple[Tensor, ParameterEntry]]]:
    """Blocks of what can be read, and the parameters that cannot.

    Args:
        parameters: Parameter, entry, and index of its group.
    """
    readable: list[Member] = []
    unreadable: list[tuple[Tensor, ParameterEntry]] = []
    spacing = max(1, len(parameters) // N_PROBES)
    tensors = [plain(parameter) for parameter, _, _ in parameters]
    limit = limit_of([tensor.numel() for tensor in tensors if tensor is not None])
    for place, (parameter, entry, group) in enumerate(parameters):
        tensor = tensors[place]
        if tensor is None:
            unreadable.append((parameter, entry))
            continue
        readable.append(
            Member(
                parameter=parameter,
                entry=entry,
                plan=plan_tensor(tensor, limit),
                group=group,
                is_plain=tensor is parameter,
                is_probe=place % spacing == 0 and place < spacing * N_PROBES,
            )
        )
    return _blocks(readable), unreadable


def _blocks(members: Sequence[Member]) -> list[ParameterBlock]:
    by_place: dict[tuple[torch.device, torch.dtype], list[list[Member]]] = {}
    n_elements: dict[
        tuple[torch.device, torch.dtype], int
    ] = {}  # of the chunk that is being filled
    for member in members:
        parameter = member.parameter
        # Differences of float64 weights are lost in float32.
        dtype = torch.float64 if parameter.dtype in WIDE_TYPES else torch.float32
        place = (parameter.device, dtype)
        chunks = by_place.setdefault(place, [[]])
        limit = HOST_BLOCK_ELEMENTS if parameter.device.type == "cpu" else DEVICE_BLOCK_ELEMENTS
        n_sampled = member.plan.n_sampled
        n_elements[place] = n_elements.get(place, 0) + n_sampled
        if n_elements[place] > limit:
            chunks.append([])
            n_elements[place] = n_sampled
        chunks[-1].append(member)
    result: list[ParameterBlock] = []
    for (device, dtype), chunks in by_place.items():
        n_rows = max(sum(-(-m.plan.n_sampled // ROW_LENGTH) for m in chunk) for chunk in chunks)
        workspace = new_workspace(n_rows, device=device, dtype=dtype)
        result.extend(ParameterBlock(chunk, workspace, dtype) for chunk in chunks if chunk)
    return result


def row_names(
    entries: Sequence[ParameterEntry], n: Sequence[int], *, is_sharded: Sequence[bool]
) -> dict[Kind, RowNames]:
    """Ids of the rows of some parameters, by kind.

    Args:
        entries: Of the parameters.
        n: Elements of each on this rank.
        is_sharded: Whether other ranks hold the rest of each.
    """
    param_id = np.array([entry.param_id for entry in entries], dtype=np.int64)
    return {
        kind: RowNames(
            tensor_id=np.array([entry.ids[kind] for entry in entries], dtype=np.int64),
            param_id=param_id,
            n=np.array(n, dtype=np.int64),
            is_sharded=np.array(is_sharded, dtype=np.bool_),
        )
        for kind in Kind
    }


def new_workspace(n_rows: int, *, device: torch.device, dtype: torch.dtype) -> Workspace:
    """Scratch for blocks of up to that many rows."""
    shape = (n_rows, ROW_LENGTH)
    integer = torch.int64 if dtype == torch.float64 else torch.int32
    return Workspace(
        first=torch.empty(shape, dtype=dtype, device=device),
        integers=torch.empty(shape, dtype=integer, device=device),
    )


def _weights(salts: Sequence[int]) -> npt.NDArray[np.int64]:
    """splitmix64 of (salt, column), odd, shape (n_salts, 1024)."""
    columns = np.arange(ROW_LENGTH, dtype=np.uint64)
    with np.errstate(over="ignore"):
        index = np.array(salts, dtype=np.uint64)[:, None] * np.uint64(ROW_LENGTH) + columns
    return splitmix64(index) | 1
