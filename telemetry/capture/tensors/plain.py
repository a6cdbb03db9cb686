"""Any tensor of training as a plain one: strided, real, on this rank."""

import math

import torch
from torch import Tensor

DENSE_LIMIT = 1 << 24  # elements; a larger sparse gradient is not unfolded


def local_part(tensor: Tensor) -> Tensor:
    """What this rank holds of a distributed tensor; any other as it is."""
    # By name, not by class: importing torch.distributed.tensor takes half a second.
    if hasattr(tensor, "to_local") and hasattr(tensor, "placements"):
        local = tensor.to_local()
        if isinstance(local, Tensor):
            return local
    return tensor


def whole_scalar(value: Tensor) -> Tensor | None:
    """A 0-d tensor that every rank holds alike, as a plain one.

    Returns:
        None where each rank holds a part of it, which only all of them together could add up.
    """
    local = local_part(value)
    if local is value:
        return value
    placements, mesh = getattr(value, "placements", ()), getattr(value, "device_mesh", None)
    is_alone = mesh is not None and mesh.size() == 1
    return local if is_alone or all(p.is_replicate() for p in placements) else None


def plain(tensor: Tensor) -> Tensor | None:
    """The same values as a strided real tensor, a view where that is possible.

    Returns:
        None for what cannot be read: no memory behind it (meta), quantized, empty, or sparse and
        too large to unfold.
    """
    tensor = local_part(tensor)
    if tensor.layout is not torch.strided:
        if tensor.numel() > DENSE_LIMIT or tensor.is_meta:
            return None
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if tensor.is_meta or tensor.is_quantized or not tensor.numel():
        return None
    return tensor


def dense_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The strided tensors that a tensor of any layout consists of, without copying anything.

    Indices and values of sparse tensors, values and offsets of nested ones, integers of quantized
    ones, this rank's part of distributed ones.
    """
    tensor = local_part(tensor)
    layout = tensor.layout
    if tensor.is_nested:
        # Jagged ones know their offsets, the others their sizes.
        places = getattr(tensor, "offsets", tensor._nested_tensor_size)  # noqa: SLF001
        return places(), tensor.values()
    if layout is torch.strided:
        return (tensor.int_repr() if tensor.is_quantized else tensor,)
    if layout is torch.sparse_coo:  # coalesced or not
        return tensor._indices(), tensor._values()  # noqa: SLF001
    if layout in {torch.sparse_csr, torch.sparse_bsr}:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if layout in {torch.sparse_csc, torch.sparse_bsc}:
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor.to_dense(),)  # of another library's layout


def nonzero_part(tensor: Tensor) -> Tensor | None:
    """All that is not zero in a sparse tensor, which has its norm; None where that is not known.

    Values of the same index are added up first, which waits for an accelerator: there it is not
    done.
    """
    tensor = local_part(tensor)
    if tensor.layout is not torch.sparse_coo or tensor.is_meta:
        return None
    if not tensor.is_coalesced():
        if tensor.device.type != "cpu":
            return None
        tensor = tensor.coalesce()
    values = tensor.values()
    return torch.view_as_real(values) if values.is_complex() else values


def storage_key(parameter: Tensor) -> tuple[int, ...]:
    """Equal for parameters that lie in the same memory; the identity where there is none."""
    local = local_part(parameter)
    if local.is_meta or not local.numel() or local.is_sparse:
        return (id(parameter),)
    return (local.data_ptr(), *local.shape, *local.stride())


def n_real(parameter: Tensor) -> int:
    """Real numbers of a parameter; a complex element is two."""
    return parameter.numel() * (2 if parameter.is_complex() else 1)


def is_sharded(parameter: Tensor) -> bool:
    """Whether several ranks hold the parameter together; one of them may hold all of it."""
    mesh = getattr(parameter, "device_mesh", None)
    if mesh is None:
        return local_part(parameter).numel() != parameter.numel()
    placements = getattr(parameter, "placements", ())
    sizes = (mesh.size(dimension) for dimension in range(len(placements)))
    return any(n > 1 and not p.is_replicate() for n, p in zip(sizes, placements, strict=True))


def n_copies(parameter: Tensor) -> int:
    """How many ranks hold what this one holds of a distributed parameter; 1 for any other."""
    mesh = getattr(parameter, "device_mesh", None)
    if mesh is None:
        return 1
    placements = enumerate(getattr(parameter, "placements", ()))
    return math.prod(mesh.size(place) for place, each in placements if each.is_replicate())


def is_row_shard(parameter: Tensor) -> bool:
    """Whether ranks hold rows of the parameter, a matrix of at least two."""
    if parameter.dim() < 2 or len(parameter) < 2 or not is_sharded(parameter):  # noqa: PLR2004
        return False
    placements = getattr(parameter, "placements", ())
    return all(placement.is_replicate() or placement.is_shard(0) for placement in placements)
