"""What the training thread hands to the writer thread."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyarrow as pa

from telemetry.format.tables import table as schema_of

HOST_ROW_BYTES = 600  # a dictionary of some ten values
BATCH_BYTES = 4 * 1024 * 1024  # of packets whose rows are made together


class Packet(Protocol):
    """Tensors still on their device, and what is needed to name them.

    A packet owns its tensors: nothing it holds is written again after it was put.
    """

    @property
    def n_bytes(self) -> int:
        """Memory held until the packet is written."""
        ...

    def rows(self) -> Iterable[tuple[str, pa.Table]]:
        """(table, rows) pairs without the column `attempt`; runs on the writer thread.

        May wait for the device.
        """
        ...


@runtime_checkable
class JointPacket(Packet, Protocol):
    """A packet whose rows are made faster together with those of others."""

    @property
    def companions(self) -> object:
        """Equal for packets that may be joined."""
        ...

    @property
    def last_step(self) -> int:
        """The last step that it has rows of."""
        ...

    @staticmethod
    def rows_of(packets: Sequence[Packet]) -> Iterable[tuple[str, pa.Table]]:
        """As `rows`, of several in their order: one table."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsPacket:
    """A few rows that are on the host already; a `Packet`."""

    table: str
    records: tuple[Mapping[str, object], ...]

    @property
    def n_bytes(self) -> int:
        """Memory held until the packet is written."""
        return HOST_ROW_BYTES * len(self.records)

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """The rows as one table."""
        if self.records:
            yield self.table, host_table(self.table, self.records)


def rows_packet(table: str, rows: Sequence[Mapping[str, object]]) -> Packet:
    """A packet of rows given as dictionaries; columns that may be NULL may be missing.

    Args:
        table: Name of the table.
        rows: Values by column, without `attempt`.
    """
    return RowsPacket(table=table, records=tuple(rows))


def host_table(table: str, records: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows given as dictionaries with the column types of their table."""
    known = {column.name: column.arrow_type for column in schema_of(table).columns}
    names = dict.fromkeys(name for record in records for name in record)
    return pa.table(
        {
            name: pa.array([record.get(name) for record in records], type=known.get(name))
            for name in names
        }
    )


def batches(packets: Sequence[Packet], *, up_to: int) -> list[list[Packet]]:
    """Packets in their order, those that may be joined together, of about 4 MiB at most.

    Args:
        packets: Oldest first.
        up_to: What holds a later step stays alone: it may have to wait for the rest of that step.
    """
    result: list[list[Packet]] = []
    open_batches: dict[object, tuple[list[Packet], int]] = {}
    for packet in packets:
        if not isinstance(packet, JointPacket) or packet.last_step > up_to:
            result.append([packet])
            continue
        batch, n_bytes = open_batches.get(packet.companions, ([], BATCH_BYTES))
        if n_bytes + packet.n_bytes > BATCH_BYTES:
            batch, n_bytes = [], 0
            result.append(batch)
        batch.append(packet)
        open_batches[packet.companions] = batch, n_bytes + packet.n_bytes
    return result
