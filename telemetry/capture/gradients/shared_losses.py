"""Whether the losses of two recorded models are those of adversaries, or of an actor and a critic.

A backward pass whose graph reaches both models is one loss of both. Where one of them has passes of
its own besides, each is trained by a loss that depends on the other's weights: a generator's loss
rises because the discriminator has learned, and tells no progress.
"""

import threading
import weakref
from collections.abc import Sequence

from torch import Tensor

from telemetry.capture.environment import open_callbacks
from telemetry.capture.event import Event
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings

ENOUGH = 3  # shared passes: one alone may be a test of the wiring


class _Pass:
    """A backward pass, and the watches of the models that its graph reaches."""

    def __init__(self, root: Tensor, first: "SharedLosses") -> None:
        self.root = weakref.ref(root)
        self.owners = [first]


_last = threading.local()  # `.seen`: the last pass that began on a thread


class SharedLosses(StepObserver):
    """Emits one event a run where its losses reach another recorded model that has losses too.

    It rests, and costs nothing, as long as one callback is open.
    """

    part = "shared_losses"
    at_rest = frozenset({"before_backward"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._has_own = False
        self._n_shared = 0
        self._told = False

    def attached(self) -> None:
        """Wait for another callback, unless there is one."""
        if open_callbacks.n_open() > 1:
            self._another()
        else:
            open_callbacks.watch(self._another)

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """A pass that reaches this model: the watches of all that it reaches are told in turn."""
        del record
        if not roots:
            return
        last: _Pass | None = getattr(_last, "seen", None)
        if last is not None and last.root() is roots[0]:
            if self not in last.owners:
                last.owners.append(self)
                _shared(last.owners)
            return
        if last is not None and len(last.owners) == 1:
            last.owners[0]._has_own = True  # noqa: SLF001 - of the same class
        _last.seen = _Pass(roots[0], self)

    def close(self) -> None:
        """Recording ends: nothing keeps it alive."""
        open_callbacks.unwatch(self._another)
        last: _Pass | None = getattr(_last, "seen", None)
        if last is not None and self in last.owners:
            del _last.seen

    def _another(self) -> None:
        self.wake("before_backward")

    def share(self, owners: "Sequence[SharedLosses]") -> None:
        """A pass has reached this model and others."""
        self._n_shared += 1
        if self._told or self._n_shared < ENOUGH or not any(one._has_own for one in owners):  # noqa: SLF001
            return
        self._told = True
        others = sorted({type(one.around.model).__name__ for one in owners if one is not self})
        self.around.emit(
            Event(
                kind="shared_loss",
                message="a loss of this model reaches the parameters of "
                f"{' and '.join(others)}, recorded by another callback; one of these "
                "models is trained by another loss as well",
                payload={"models": list(others)},
            )
        )


def _shared(owners: Sequence[SharedLosses]) -> None:
    for one in owners[-2:] if len(owners) == 2 else owners[-1:]:  # noqa: PLR2004 - the first pair
        one.share(owners)
