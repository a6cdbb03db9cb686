"""What the training thread hands to the writer thread."""

from collections.abc import Iterable
from typing import Protocol

import pyarrow as pa


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
