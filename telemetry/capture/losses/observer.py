"""Follows the loss of a sampled step: what the dispatch mode saw, from outputs to the root."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from telemetry.capture.losses.chains import Chains, chains_of
from telemetry.capture.losses.constant_answer import ConstantAnswers
from telemetry.capture.losses.packet import LossPacket, PairCopy, copied
from telemetry.capture.losses.pairs import Pair, pairs_of, single_softmax
from telemetry.capture.losses.replay import Program, program_of
from telemetry.capture.losses.slicing import (
    Slice,
    UnknownLossError,
    loss_slice,
    reads_detached,
)
from telemetry.capture.losses.tape import Tape
from telemetry.capture.tensors.host import Readiness
from telemetry.format.loss_operations import SIGNED

MAX_CALLS = 4  # backward passes of a step that are followed
N_REPLAYED = 16  # sampled steps whose best constant answer is searched
N_SPLIT = 8  # of those whose number is up to twice as large, whose terms are told
N_FOLLOWED = 64  # sampled steps in a row, as many as a short run has
MAX_KNOWN = 8  # losses of a run, of several models or losses that change
NO_CHAINS = Chains(chains=(), signs=frozenset())
N_PER_OCTAVE = 16  # of those whose number is up to twice as large, spread evenly


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Followed:
    """What is known of one loss; `reason` says why the rest is not."""

    found: Slice | None = None
    chains: Chains = NO_CHAINS
    pairs: Sequence[Pair] = ()
    program: Program | None = None
    reason: str


@dataclass(slots=True, kw_only=True, eq=False)
class LossObserver:
    """The losses of one model, step after step.

    Attributes:
        tape: Told by the mode what ran.
        is_in_forward: Whether the model computes its loss itself, so that its forward must be seen.
    """

    tape: Tape = field(default_factory=Tape)
    is_in_forward: bool = False
    _answers: ConstantAnswers = field(default_factory=ConstantAnswers)
    _packets: list[LossPacket] = field(default_factory=list)
    _known: dict[tuple[str, ...], Chains] = field(default_factory=dict)
    _n_steps: int = 0
    _call: int = 0

    @property
    def is_wanted(self) -> bool:
        """Whether the loss of this step is followed."""
        octave = 1 << (self._n_steps.bit_length() - 1)
        return self._n_steps <= N_FOLLOWED or self._n_steps % (octave // N_PER_OCTAVE) == 0

    @property
    def _is_split(self) -> bool:
        """Whether the terms of this step's loss are told: their sizes at the end count, too."""
        octave = 1 << (self._n_steps.bit_length() - 1)
        return self._n_steps % max(1, octave // N_SPLIT) == 0

    def begin(self) -> None:
        """A sampled step begins."""
        self.tape.clear()
        self._call = 0
        self._n_steps += 1

    def root(self, roots: Sequence[Tensor], step: int) -> None:
        """A backward pass is about to start from these."""
        call, self._call = self._call, self._call + 1
        if call >= MAX_CALLS or len(roots) != 1 or not self.is_wanted:
            self.tape.clear()
            return
        root = roots[0]
        followed = self._follow(root)
        tables = self.tape.tables if self._is_searched else []
        self.tape.clear()
        if followed.found is not None or self._is_searched:
            self._packets.append(self._packet(root, followed, tables, step=step, call=call))

    def take(self) -> list[LossPacket]:
        """What was followed since the last call."""
        packets, self._packets = self._packets, []
        self.tape.clear()
        return packets

    @property
    def _is_searched(self) -> bool:
        """Whether the best constant answer of this step's loss is searched."""
        return self._n_steps <= N_REPLAYED

    def _follow(self, root: Tensor) -> _Followed:
        try:
            found = loss_slice(self.tape, root)
        except UnknownLossError as error:
            return _Followed(reason=str(error))
        self.is_in_forward |= any(self.tape.is_of_forward(link.record) for link in found.links)
        program, reason, pairs = None, "", pairs_of(found)
        try:
            if self._is_searched or self._is_split:
                program = program_of(found, pairs)
        except UnknownLossError as error:
            reason = str(error)
        return _Followed(
            found=found, chains=self._chains_of(found), pairs=pairs, program=program, reason=reason
        )

    def _chains_of(self, found: Slice) -> Chains:
        """Of the same operations in the same order, as those of each batch are, they are known."""
        paths = [output.path for output in found.outputs.values()]
        names = (*paths, *(link.name for link in found.links))
        known = self._known.get(names)
        if known is None:
            known = chains_of(found)
            if len(self._known) < MAX_KNOWN:
                self._known[names] = known
        return known

    def _packet(
        self,
        root: Tensor,
        followed: _Followed,
        tables: Sequence[Tensor],
        *,
        step: int,
        call: int,
    ) -> LossPacket:
        found, chains = followed.found, followed.chains
        return LossPacket(
            step=step,
            call=call,
            root=root.detach().clone(),
            pairs=tuple(_copied(pair, chains, tables) for pair in followed.pairs),
            n_outputs=0 if found is None else len(found.outputs),
            chains=chains.chains,
            has_single_softmax=found is not None and single_softmax(found),
            has_detached=found is not None and reads_detached(found),
            program=followed.program,
            searches=self._is_searched,
            reason=followed.reason,
            answers=self._answers,
            ready=Readiness([root.device]),
        )


def _copied(pair: Pair, chains: Chains, tables: Sequence[Tensor]) -> PairCopy:
    is_sign = pair.operation in SIGNED or pair.place in chains.signs
    return copied(pair, tables, is_sign=is_sign)
