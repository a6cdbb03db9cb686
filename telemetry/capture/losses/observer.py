"""Follows the loss of a sampled step: what the dispatch mode saw, from outputs to the root."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from telemetry.capture.losses.constant_answer import ConstantAnswers
from telemetry.capture.losses.packet import LossPacket, PairCopy, copied
from telemetry.capture.losses.pairs import pairs_of, single_softmax
from telemetry.capture.losses.replay import Program, program_of
from telemetry.capture.losses.slicing import Slice, UnknownLossError, loss_slice
from telemetry.capture.losses.tape import Tape
from telemetry.capture.tensors.host import Readiness

MAX_CALLS = 4  # backward passes of a step that are followed
N_REPLAYED = 16  # sampled steps whose loss is copied whole
N_FOLLOWED = 64  # sampled steps in a row, as many as a short run has
N_PER_OCTAVE = 16  # of those whose number is up to twice as large, spread evenly


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
    _n_steps: int = 0
    _call: int = 0

    @property
    def is_wanted(self) -> bool:
        """Whether the loss of this step is followed."""
        octave = 1 << (self._n_steps.bit_length() - 1)
        return self._n_steps <= N_FOLLOWED or self._n_steps % (octave // N_PER_OCTAVE) == 0

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
        found, program, reason = None, None, ""
        try:
            found = loss_slice(self.tape, root)
            self.is_in_forward |= any(self.tape.is_of_forward(link.record) for link in found.links)
            if self._n_steps <= N_REPLAYED:
                program = program_of(found)
        except UnknownLossError as error:
            reason = str(error)
        tables = self.tape.tables if self._n_steps <= N_REPLAYED else []
        self.tape.clear()
        if found is not None or self._n_steps <= N_REPLAYED:
            copies = () if found is None else tuple(_copies(found, tables))
            self._packets.append(
                self._packet(root, found, copies, program, reason, step=step, call=call)
            )

    def take(self) -> list[LossPacket]:
        """What was followed since the last call."""
        packets, self._packets = self._packets, []
        self.tape.clear()
        return packets

    def _packet(
        self,
        root: Tensor,
        found: Slice | None,
        pairs: tuple[PairCopy, ...],
        program: Program | None,
        reason: str,
        *,
        step: int,
        call: int,
    ) -> LossPacket:
        return LossPacket(
            step=step,
            call=call,
            root=root.detach().clone(),
            pairs=pairs,
            n_outputs=0 if found is None else len(found.outputs),
            has_single_softmax=found is not None and single_softmax(found),
            program=program,
            reason=reason,
            answers=self._answers,
            ready=Readiness([root.device]),
        )


def _copies(found: Slice, tables: Sequence[Tensor]) -> list[PairCopy]:
    outputs = {tuple(o.tensor.shape): o.tensor for o in found.outputs.values()}
    return [
        copied(pair, outputs.get(pair.output_shape, pair.values), tables)
        for pair in pairs_of(found)
    ]
