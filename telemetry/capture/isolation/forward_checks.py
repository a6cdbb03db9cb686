"""What a forward beside the training must not do: write into parameters, wait for others."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


class Parameters:
    """Notices a forward that writes into parameters, which nothing else would put back.

    Args:
        model: Owns them.
        keep: Hold copies, so that they can be put back.
    """

    def __init__(self, model: nn.Module, *, keep: bool) -> None:
        self._named = [
            (name, p, p._version)  # noqa: SLF001
            for name, p in model.named_parameters()
            if not is_lazy(p)
        ]
        self._kept = [p.detach().clone() for _, p, _ in self._named] if keep else []

    def check(self) -> None:
        """Put them back.

        Raises:
            RuntimeError: one was written.
        """
        written = [name for name, p, version in self._named if p._version != version]  # noqa: SLF001
        for (name, parameter, _), kept in zip(self._named, self._kept, strict=False):
            if name not in written and _are_same(parameter, kept):
                continue
            parameter.data.copy_(kept)  # autograd need not know of what was never changed
            written.append(name)
        if written:
            raise RuntimeError(_writes(written[0]))


def _are_same(parameter: Tensor, kept: Tensor) -> bool:
    """Whether the values are the same; taken for granted on a device that would be waited for."""
    if parameter.device.type != "cpu":
        return True
    values = parameter.detach()
    return torch.equal(values, kept) or bool(((values == kept) | (values != values)).all())  # noqa: PLR0124


def check_reads_only(model: nn.Module) -> None:
    """Raise for a forward that is known to write into its weights, before it does.

    To put the values back is not enough for autograd, if the training's own backward pass is still
    to come and needs such a weight, as with an output embedding that is tied to the input's.
    """
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
            raise RuntimeError(_writes(f"{path}.weight".lstrip(".")))


def _writes(name: str) -> str:
    return f"forward() writes into {name}; such a model can only run in its training."


def check_alone(model: nn.Module) -> None:
    """Raise for a forward that needs other processes, which may not be running it too."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    if distributed.get_world_size() > 1 and _needs_others(tuple(model.modules())):
        raise RuntimeError(
            "forward() communicates (SyncBatchNorm or sharded parameters); on a single process "
            "it would wait forever."
        )


def _needs_others(modules: Sequence[nn.Module]) -> bool:
    return any(
        isinstance(module, nn.SyncBatchNorm)
        or type(module).__name__.startswith("FSDP")
        or any(hasattr(p, "device_mesh") for p in module.parameters(recurse=False))
        for module in modules
    )
