"""How much device memory a training has taken, as torch's allocator counted it."""

import torch

from telemetry.json_values import Json


def peak_memory() -> dict[str, Json]:
    """`peak_memory_bytes`: the most that one device has held; empty without CUDA.

    The allocator is asked, not the device, and nobody's count is reset: the peak is that of the
    process, so a second training in it shows the larger of the two.
    """
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    peaks = [torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count())]
    return {"peak_memory_bytes": max(peaks, default=0)}
