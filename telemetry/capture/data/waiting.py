"""How long each step waited for its data, and in which pass over the data it was.

A wait belongs to the loader that was read. It becomes known whose it is when a forward follows:
what was read before a forward with gradient is the wait of the step in progress, what was read
before one without is an evaluation's, unless a forward with gradient reads the same batch (a
teacher looked at it first).
"""

import threading
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from telemetry.capture.data import loaders
from telemetry.capture.data.loaders import LoaderFacts
from telemetry.capture.event import Event
from telemetry.capture.isolation.guard import guarded
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

MAX_PASSES = 64  # remembered before those that are over are forgotten
MAX_EVENTS = 64  # of loaders that all differ, as of a curriculum


class _Loader:
    """A loader that was read; `kept` is what it lives as long as."""

    def __init__(self, kept: object, facts: LoaderFacts) -> None:
        self.reference = weakref.ref(kept)
        self.facts = facts


class _Pass:
    """One pass over a loader; `key` is the identity of its iterator."""

    def __init__(self, key: int, iterator: object, loader: _Loader) -> None:
        self.key = key
        self.reference = weakref.ref(iterator)
        self.loader = loader
        self.is_over = False


class DataWatch(StepObserver):
    """Fills `data_s` and `epoch`; sleeps in loops that read no `DataLoader`.

    An epoch is a pass over the loader that feeds the training; where several do, over the first of
    them. A new loader that takes the place of one that is over continues its count.
    """

    part: ClassVar[str] = "data"
    at_rest = frozenset({"forward", "forward_without_gradient"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._guard = around.guard
        self._thread = threading.get_ident()  # of the forwards: another one may read ahead
        self._waits: dict[int, float] = {}  # seconds since the last forward, by pass
        self._seen_without_gradient: dict[int, float] = {}
        self._between_s = 0.0  # waits of the training that no batch has ended
        self._loaders: dict[int, _Loader] = {}
        self._passes: dict[int, _Pass] = {}
        self._lead: _Pass | None = None
        self._epoch = -1
        self._told: set[LoaderFacts] = set()

    def attached(self) -> None:
        """Observe torch's data loaders."""
        loaders.observe(self)

    def close(self) -> None:
        """Put them back."""
        loaders.forget(self)

    # --- moments of a loader ------------------------------------------------------------------

    @guarded(part)
    def begun(self, loader: "DataLoader[object]", iterator: object, seconds: float) -> None:
        """A pass begins; what the last one of this loader read for nobody is nobody's wait."""
        if threading.get_ident() != self._thread:
            return
        self._wake()
        notes = self._notes(loader, iterator)
        for key in tuple(self._waits):
            former = self._passes.get(key)
            if former is not None and former.loader is notes:
                del self._waits[key]
        self._waits[self._add_pass(iterator, notes)] = seconds

    @guarded(part)
    def fetched(self, iterator: object, seconds: float) -> None:
        """A batch has come."""
        if threading.get_ident() == self._thread:
            waits, key = self._waits, id(iterator)
            if key not in self._passes:  # it began before the recording
                self._wake()
                self._add_pass(iterator, _Loader(iterator, LoaderFacts.of(iterator)))
            waits[key] = waits.get(key, 0.0) + seconds

    @guarded(part)
    def ended(self, iterator: object, seconds: float) -> None:
        """A pass is over."""
        if threading.get_ident() != self._thread:
            return
        self._seen_without_gradient = {}
        one = self._passes.get(id(iterator))
        if one is None:
            return
        if one is self._lead:
            self.around.ledger.n_epochs += not one.is_over
            self._between_s += seconds
            if one.loader.facts.batches is None:
                batches = getattr(iterator, "_num_yielded", None)
                if isinstance(batches, int):
                    one.loader.facts = one.loader.facts.counted(batches)
                    self._describe(one.loader)
        one.is_over = True

    # --- moments of a step --------------------------------------------------------------------

    def forward(
        self,
        record: StepRecord,
        module: nn.Module,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> None:
        """What was read since the last forward is for the training."""
        del module, args, kwargs
        self._thread = threading.get_ident()
        waits = self._waits or self._seen_without_gradient
        if waits:
            record.add("data_s", sum(waits.values()) + self._between_s)
            self.around.ledger.has_own_batch = True
            self._between_s = 0.0
            self._follow(waits)
            self._waits = {}
            self._seen_without_gradient = {}
        if self._lead is not None:
            record.epoch = self._epoch

    def forward_without_gradient(self, record: StepRecord) -> None:
        """What was read since the last forward may be for an evaluation."""
        del record
        if self._waits:
            self._seen_without_gradient = self._waits
            self._waits = {}

    # --- inside -------------------------------------------------------------------------------

    def _wake(self) -> None:
        self.wake("forward")
        self.wake("forward_without_gradient")

    def _add_pass(self, iterator: object, loader: _Loader) -> int:
        if len(self._passes) >= MAX_PASSES:
            alive = {k: p for k, p in self._passes.items() if p.reference() is not None}
            self._passes = alive
        key = id(iterator)
        self._passes[key] = _Pass(key, iterator, loader)
        return key

    def _notes(self, loader: "DataLoader[object]", iterator: object) -> _Loader:
        known = self._loaders.get(id(loader))
        if known is not None and known.reference() is loader:
            return known
        if len(self._loaders) >= MAX_PASSES:
            alive = {k: n for k, n in self._loaders.items() if n.reference() is not None}
            self._loaders = alive
        notes = self._loaders[id(loader)] = _Loader(loader, LoaderFacts.of(iterator))
        return notes

    def _follow(self, waits: Mapping[int, float]) -> None:
        """Which epoch it is now that these passes have fed a forward with gradient."""
        lead = self._lead
        if lead is not None and lead.key in waits and self._passes.get(lead.key) is lead:
            return
        passes = [one for key in waits if (one := self._passes.get(key)) is not None]
        if not passes:
            return
        following: _Pass | None = passes[0]
        if lead is not None and not lead.is_over and lead.loader.reference() is not None:
            following = next((one for one in passes if one.loader is lead.loader), None)
        if following is not None:
            ledger = self.around.ledger
            ledger.n_epochs += lead is not None and not lead.is_over  # it was left before its end
            self._lead = following
            self._epoch = ledger.n_epochs
        for one in passes:
            self._describe(one.loader)

    def _describe(self, loader: _Loader) -> None:
        facts = loader.facts
        if facts in self._told or len(self._told) >= MAX_EVENTS:
            return
        self._told.add(facts)
        self.around.emit(Event(kind="epoch", message=_sentence(facts), payload=facts.payload()))


def _sentence(facts: LoaderFacts) -> str:
    size = "an unknown number of" if facts.dataset_size is None else str(facts.dataset_size)
    passes = "" if facts.batches is None else f", {facts.batches} batches per epoch"
    return f"training reads {facts.dataset} with {size} samples{passes}"
