"""What torch is doing on this thread: a backward pass, a transform, a plain forward."""

import sys
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

NO_PASS = -1
# The pass that this thread runs. Asked in every step, where a function around it costs as much.
graph_task: Callable[[], int] = torch._C._current_graph_task_id  # noqa: SLF001 - no public name


def forward_is_plain() -> bool:
    """Whether this forward runs eagerly on real tensors, so that it can be looked at."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None  # noqa: SLF001 - no typed name
        or in_transform()
        or any(is_tracing_mode(mode) for mode in _get_current_dispatch_mode_stack())
        or (
            torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
            and torch.cuda.is_current_stream_capturing()
        )
        or in_backward()
    )


def is_tracing_mode(mode: TorchDispatchMode) -> bool:
    """Whether a dispatch mode is one of torch's own, which trace or fake what they see."""
    return type(mode).__module__.startswith(("torch._", "torch.fx"))


def in_backward() -> bool:
    """Whether this thread runs a backward pass, which recomputes checkpointed forwards."""
    return graph_task() != NO_PASS


def in_transform() -> bool:
    """Whether a transform of torch.func runs, whose tensors are not what they seem."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # noqa: SLF001 - no public name


def is_recomputed() -> bool:
    """Whether this forward is a checkpointed one that ran with gradients before.

    A reentrant checkpoint runs its forward without gradients first: the second is the training.
    """
    if not in_backward():
        return False
    node = torch._C._current_autograd_node()  # noqa: SLF001 - no public name
    return node is None or node.name() != "CheckpointFunctionBackward"


def something_was_compiled() -> bool:
    """Whether torch.compile has been at work; new hooks might make it compile once more."""
    convert_frame = sys.modules.get("torch._dynamo.convert_frame")
    return bool(getattr(getattr(convert_frame, "input_codes", None), "seen", False))
