"""The Triton kernel in its interpreter, element by element against a slow reference.

Without a GPU nothing here says how fast it is; that it compiles for one is tested.
"""

import importlib
import math
import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from observed_parameters import check_histogram, check_moments, close, observe, random
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from telemetry.capture.parameters import whole_moments
from telemetry.capture.parameters.whole_moments import MEASURES, WholeMoments
from telemetry.format import histograms

pytest.importorskip("triton")
moments = importlib.import_module(whole_moments.KERNEL_MODULE)

CHUNK = 16_384
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
SIZES = [1, 1_023, 1_025, CHUNK, CHUNK + 1]
SPECIAL = torch.tensor(
    [
        [0.0, -0.0, 1.0, -1.0, 65_504.0, -2.5],
        [torch.nan, torch.inf, -torch.inf, 6e-8, -6e-8, 0.0],
        [1e-40, -1e-42, 1.2e-38, -1.2e-38, 3.25e38, -2e38],
    ]
)


def reference(tensor: Tensor) -> npt.NDArray[np.float64]:
    """`MEASURES` of a tensor in float64."""
    values = tensor.detach().double().numpy().ravel()
    finite = values[np.isfinite(values)]
    return np.array(
        [
            math.fsum(finite),
            (finite**2).sum(),
            finite.min(initial=np.inf),
            finite.max(initial=-np.inf),
            (finite == 0).sum(),
            np.isnan(values).sum(),
            np.isinf(values).sum(),
        ]
    )


def check(tensors: Sequence[Tensor]) -> WholeMoments:
    """Hold the kernel's results against the reference."""
    result = moments.measure(tensors, True)  # noqa: FBT003
    assert result.measures.dtype == torch.float64
    assert result.fields is not None
    assert result.fields.dtype == torch.int32
    for i, tensor in enumerate(tensors):
        expected = reference(tensor)
        got = result.measures[:, i].numpy()
        np.testing.assert_allclose(got[:2], expected[:2], rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(got[2:], expected[2:])
        fields = histograms.fields_of(tensor.detach().float().numpy())
        np.testing.assert_array_equal(result.fields[i].numpy(), fields)
    return result


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_any_size_equal_the_reference(dtype: torch.dtype) -> None:
    check([random((size,), size).to(dtype) for size in SIZES])


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_subnormals_nan_and_infinity_equal_the_reference(dtype: torch.dtype) -> None:
    # Bfloat16 has subnormals too, which the interpreter takes for zeros and a device does not.
    special = SPECIAL[:2] if dtype == torch.bfloat16 else SPECIAL
    result = check([special.to(dtype), torch.full((3,), torch.nan, dtype=dtype)])
    assert result.of("n_nan").tolist() == [1, 3]
    assert result.of("n_zero")[0] >= 3
    assert (result.of("min")[1], result.of("max")[1]) == (torch.inf, -torch.inf)


def test_tensors_of_several_types_and_shapes_go_together() -> None:
    tensors = [
        random((300, 70), 1).bfloat16(),
        random((), 2),
        random((2_000,), 3).double(),
        torch.empty(0),
        random((40, 1_000), 4),
        random((5,), 5).half(),
        torch.zeros(7, 3, dtype=torch.bfloat16),
        torch.empty(3, 0, dtype=torch.float64),
    ]
    result = check(tensors)
    assert result.of("n_zero").tolist() == [0, 0, 0, 0, 0, 0, 21, 0]


def test_memory_may_be_in_any_order_or_have_gaps() -> None:
    matrix = random((200, 90), 6)
    images = random((8, 6, 5, 7), 7).to(memory_format=torch.channels_last)
    check(
        [matrix.t(), matrix[:, ::3], matrix[::2], images, matrix[:1].expand(4, 90), matrix[3:, 1]]
    )


def test_other_floating_types_are_read_as_float32() -> None:
    check([random((50,), 8).to(torch.float8_e5m2), random((50,), 9)])


def test_exponents_are_counted_only_if_wanted() -> None:
    result = moments.measure([random((50,), 8)], False)  # noqa: FBT003
    assert result.fields is None
    assert result.of("sum").item() == pytest.approx(random((50,), 8).double().sum().item())


def test_parameters_are_read_where_they_lie() -> None:
    parameter = torch.nn.Parameter(random((30, 20), 1))
    parameter.grad = random((30, 20), 2)
    check([parameter, parameter.grad, parameter.detach()[3:]])


# --- in a sample ----------------------------------------------------------------------------------


@pytest.fixture
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_moments, "kernel", lambda device: moments.measure if device else None)
    monkeypatch.setattr(whole_moments, "_failed", [])


@pytest.mark.usefixtures("_on_the_cpu")
@pytest.mark.parametrize(
    ("n", "dtype"), [(66_001, torch.float32), (3_000, torch.bfloat16), (3_000, torch.float64)]
)
def test_rows_cover_all_elements(n: int, dtype: torch.dtype) -> None:
    weight, gradient = random((n,), 1).to(dtype), random((n,), 2, scale=1e-3).to(dtype)
    gradient[::3] = 0
    gradient[1], gradient[2], gradient[n - 1] = torch.nan, -torch.inf, 9.0
    updates = [random((n,), 3).to(dtype)]
    row, weight_row, update = observe(weight, [gradient], updates=updates)
    for got, tensor in ((row, gradient), (weight_row, weight)):
        values = tensor.double().numpy()
        check_moments(got, values)  # n_sampled is n
        check_histogram(got, values)
        finite = values[np.isfinite(values)]
        assert close(got["sumsq"], (finite**2).sum())
    assert (row["n_nan"], row["n_inf"], row["max"]) == (1, 1, 9.0)
    assert (update["n"], update["n_sampled"]) == (n, min(n, 65_536))


@pytest.mark.usefixtures("_on_the_cpu")
def test_a_tensor_without_a_finite_element_has_no_moments() -> None:
    row, _, _ = observe(torch.zeros(5), [torch.full((5,), torch.inf)])
    assert (row["n_inf"], row["n_zero"]) == (5, 0)
    assert row["sum"] is row["min"] is row["max"] is row["absmax"] is row["hist"] is None


@pytest.mark.usefixtures("_on_the_cpu")
def test_histograms_can_be_left_out() -> None:
    row, _, _ = observe(random((9,)), [random((9,), 1)], with_histograms=False)
    assert row["hist"] is None
    assert row["absmax"] is not None


def test_a_kernel_that_fails_is_told_of_once_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def measure(tensors: Sequence[Tensor], with_fields: bool) -> WholeMoments:  # noqa: FBT001
        calls.append(len(tensors))
        raise RuntimeError(f"no compiler, {with_fields}")

    monkeypatch.setattr(whole_moments, "kernel", lambda device: measure if device else None)
    monkeypatch.setattr(whole_moments, "_failed", [])
    row, _, _ = observe(random((9,)), [random((9,), 1), random((9,), 2)])
    check_moments(row, random((9,), 2).double().numpy())
    assert calls == [1]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_there_is_no_kernel_for_a_cpu_nor_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    assert whole_moments.kernel(torch.device("cpu")) is None
    whole_moments._load.cache_clear()
    assert whole_moments.kernel(cuda) is moments.measure
    whole_moments._load.cache_clear()
    monkeypatch.setitem(sys.modules, whole_moments.KERNEL_MODULE, None)
    assert whole_moments.kernel(cuda) is None
    whole_moments._load.cache_clear()


class NoReading(TorchDispatchMode):
    """Fails on any operation that brings a value of a tensor to the host."""

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: tuple[type, ...],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        del types
        assert "_local_scalar_dense" not in str(func)
        assert "nonzero" not in str(func)
        return func(*args, **(kwargs or {}))


def test_launching_reads_no_value_off_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[tuple[int, ...]] = []

    class Launch:
        def __getitem__(self, grid: tuple[int, ...]) -> "Launch":
            launched.append(grid)
            return self

        def __call__(self, *args: object, **kwargs: object) -> None:
            del args, kwargs

    monkeypatch.setattr(moments, "_measure_chunks", Launch())
    monkeypatch.setattr(moments, "_combine_chunks", Launch())
    tensors = [random((40_000,), 1), random((3,), 2).half(), random((5, 4), 3)[:, ::2]]
    with NoReading():
        moments.measure(tensors, True)  # noqa: FBT003
    # One launch for each type, and one that adds up.
    assert launched == [(4,), (1,), (3,)]


@pytest.mark.slow
def test_it_compiles_for_a_gpu() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["_measure_chunks", "_combine_chunks"]


COMPILE = """
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from telemetry.capture.parameters.kernels import moments

constants = {
    "_measure_chunks": {"DTYPE": tl.bfloat16, "WITH_FIELDS": True, "N_FIELDS": 512,
                        "CHUNK": moments.CHUNK_LENGTH, "BLOCK": moments.BLOCK_LENGTH},
    "_combine_chunks": {"BLOCK": moments.COMBINED},
}
types = {"partials": "*fp64", "measures": "*fp64", "fields": "*i32", "first_chunk": "i32",
         "n_chunks": "i32", "n_tensors": "i32"}
for name, constexprs in constants.items():
    kernel = getattr(moments, name)
    signature = {a: "constexpr" if a in constexprs else types.get(a, "*i64")
                 for a in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constexprs)
    compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32))
    assert "ptx" in compiled.asm
    print(name)
"""


def test_measures_are_numbered_as_the_kernel_stores_them() -> None:
    assert moments.N_MEASURES == len(MEASURES) == 7


@pytest.mark.slow
def test_capture_loads_no_kernel_before_there_is_a_gpu() -> None:
    code = (
        "import sys, telemetry.capture.parameters.observer;"
        f"print({whole_moments.KERNEL_MODULE!r} in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"
