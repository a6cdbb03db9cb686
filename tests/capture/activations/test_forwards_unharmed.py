"""Nothing of the module half reaches the training or stays on the model or its copies."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
import torch
from loops import Batch, ConvNet, images, tokens
from observed import n_hooks, observed_step, rows_of, site
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

from telemetry.capture.activations.observer import ModuleObserver
from telemetry.capture.isolation.guard import Guard
from telemetry.capture.isolation.meter import Meter
from telemetry.errors import CaptureError


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def is_clean(model: nn.Module) -> bool:
    return n_hooks(model) == 0 and _get_current_dispatch_mode() is None


# --- training stays as it is ----------------------------------------------------------------------


class Forbidding(TorchDispatchMode):
    """Fails on what would make the host wait for a device."""

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        del types
        name = str(func)
        assert "_local_scalar_dense" not in name
        assert "nonzero" not in name
        return func(*args, **(kwargs or {}))


class Tagger(nn.Module):
    """A recurrent network with attention on top."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.recurrent = nn.LSTM(8, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden, _ = self.recurrent(self.embed(tokens))
        return self.head(self.attention(hidden, hidden, hidden)[0][:, -1])


@pytest.mark.parametrize(
    ("build", "batch", "expected"),
    [
        (ConvNet, images, ("", "relu#0")),
        (Tagger, tokens, ("attention", "attention_logits")),
        (Tagger, tokens, ("recurrent", "input_grad")),
    ],
)
def test_nothing_on_the_training_thread_asks_for_a_value(
    build: Callable[[], nn.Module],
    batch: Callable[[torch.Generator], Batch],
    expected: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What is measured bypasses dispatch modes otherwise.
    for module in ("activations.observer", "activations.operations"):
        monkeypatch.setattr(f"telemetry.capture.{module}.undispatched", nullcontext)
    # Nor would it look at time steps, where another mode would see it do so.
    monkeypatch.setattr("telemetry.capture.activations.observer.another_mode", lambda **_: False)
    model = build()
    inputs, targets = batch(torch.Generator().manual_seed(0))
    observer = ModuleObserver(model)
    with Forbidding():
        observer.begin(0)
        loss = functional.cross_entropy(model(inputs), targets)
        observer.observe_roots([loss])
        loss.backward()
        packet = observer.end()
    assert (*expected, "train") in rows_of(model, packet)


def test_another_dispatch_mode_does_not_see_what_is_measured() -> None:
    class Names(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(
            self,
            func: Callable[..., object],
            types: object,
            args: tuple[object, ...] = (),
            kwargs: dict[str, object] | None = None,
        ) -> object:
            del types
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))

    model = ConvNet().eval()
    inputs = normal(2, 1, 6, 6)
    with Names() as plain:
        model(inputs)
    observer = ModuleObserver(model)
    observer.begin(0)
    with Names() as observed:
        model(inputs)
    assert observed.names == plain.names
    assert observer.end() is not None


# --- failures -------------------------------------------------------------------------------------


class Failing(nn.Module):
    """Raises what it is given."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.error: BaseException | None = error

    def forward(self, values: Tensor) -> Tensor:
        values = self.inner(values)
        if self.error is not None:
            raise self.error
        return torch.relu(values)


def test_an_exception_in_a_forward_reaches_the_loop_and_leaves_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 3), Failing(ValueError("no")))
    observer = ModuleObserver(model)
    observer.begin(0)
    with pytest.raises(ValueError, match="no"):
        model(normal(2, 3))
    assert _get_current_dispatch_mode() is None
    model[1].error = None
    model(normal(2, 3)).sum().backward()
    rows = rows_of(model, observer.end())
    assert is_clean(model)
    assert site(rows, "0")["n"] == 2 * 6
    assert site(rows, "1", "relu#0")["n"] == 6


def test_a_keyboard_interrupt_leaves_nothing_after_end() -> None:
    model = nn.Sequential(Failing(KeyboardInterrupt()))
    observer = ModuleObserver(model)
    observer.begin(0)
    with pytest.raises(KeyboardInterrupt):
        model(normal(2, 3))
    observer.end()
    assert is_clean(model)


def test_a_forward_in_an_except_block_is_observed_and_cleaned_up() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    observer = ModuleObserver(model)
    observer.begin(0)
    try:
        int("no number")
    except ValueError:
        for _ in range(2):
            model(normal(2, 3)).sum().backward()
    rows = rows_of(model, observer.end())
    assert site(rows, "0")["n"] == 12
    assert is_clean(model)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Measuring fails; names of what was tried."""
    tried: list[str] = []

    def fail(*args: object, **kwargs: object) -> None:
        del args, kwargs
        tried.append("measure")
        raise ZeroDivisionError("measuring fails")

    monkeypatch.setattr("telemetry.capture.activations.recorder.measure", fail)
    return tried


def test_a_failure_of_telemetry_stays_in_the_guard(broken: list[str]) -> None:
    failures: list[str] = []
    guard = Guard(strict=False, on_failure=lambda part, error: failures.append(f"{part} {error}"))
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), Failing(ValueError("x")))
    model[2].error = None
    observer = ModuleObserver(model, guard=guard)
    observer.begin(0)
    result = model(normal(2, 3))
    result.sum().backward()
    observer.end()
    assert failures == ["modules measuring fails"]
    assert broken == ["measure"]
    assert is_clean(model)


def test_without_a_guard_a_failure_is_raised(broken: list[str]) -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    observer = ModuleObserver(model)
    observer.begin(0)
    with pytest.raises(CaptureError, match="measuring fails"):
        model(normal(2, 3))
    observer.end()
    assert broken
    assert is_clean(model)


@pytest.mark.parametrize("name", ["measure_gradient", "measure_input"])
def test_a_failure_in_backward_or_at_the_entry_stays_in_the_guard(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"telemetry.capture.activations.recorder.{name}", lambda _: 1 / 0)
    failures: list[str] = []
    guard = Guard(strict=False, on_failure=lambda part, _: failures.append(part))
    model = nn.Sequential(nn.Linear(3, 3), Failing(ValueError("x")))
    model[1].error = None
    observer = ModuleObserver(model, guard=guard)
    observer.begin(0)
    model(normal(2, 3)).sum().backward()
    assert model[0].weight.grad is not None
    observer.end()
    assert failures == ["modules"]
    assert is_clean(model)


def test_a_mode_left_open_by_the_forward_is_not_popped() -> None:
    class Names(TorchDispatchMode):
        def __torch_dispatch__(
            self,
            func: Callable[..., object],
            types: object,
            args: tuple[object, ...] = (),
            kwargs: dict[str, object] | None = None,
        ) -> object:
            del types
            return func(*args, **(kwargs or {}))

    mode = Names()

    class Leaving(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            mode.__enter__()
            return values * 2

    model = nn.Sequential(nn.Linear(3, 3), Leaving())
    observer = ModuleObserver(model)
    observer.begin(0)
    model(normal(2, 3))
    assert _get_current_dispatch_mode() is mode
    mode.__exit__(None, None, None)
    observer.end()
    assert is_clean(model)


# --- copies ---------------------------------------------------------------------------------------


def test_copies_made_while_armed_observe_nothing_and_work() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    observer = ModuleObserver(model)
    observer.begin(0)
    twin = copy.deepcopy(model)
    loaded = pickle.loads(pickle.dumps(model))  # noqa: S301 - made in the line itself
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=False)
    again = pickle.loads(pickle.dumps(loaded))  # noqa: S301 - made in the line itself
    inputs = normal(2, 3)
    assert "telemetry" not in pickle.dumps(model).decode("latin1")
    for other in (twin, loaded, saved, again):
        assert torch.equal(other(inputs), model[1](model[0](inputs)))
    assert observer.end() is None
    assert n_hooks(model) == 0


def test_a_copy_made_after_end_has_no_hook() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    observed_step(model, lambda: model(normal(2, 3)).sum())
    assert n_hooks(copy.deepcopy(model)) == 0


def test_an_output_with_its_gradient_hook_can_be_saved() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    observer = ModuleObserver(model)
    observer.begin(0)
    output = model(normal(2, 3))
    torch.save(output, io.BytesIO())
    observer.end()


def test_the_time_in_hooks_is_counted() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    readings = iter(range(1000))
    meter = Meter(lambda: float(next(readings)))
    guard = Guard(strict=True, on_failure=lambda *_: pytest.fail("a part failed"), meter=meter)
    observer = ModuleObserver(model, guard=guard)
    observed_step(model, lambda: model(normal(2, 3)).sum(), observer=observer)
    # The forward of the model, and of the layer in it; the gradients of both.
    assert meter.take() >= 4
