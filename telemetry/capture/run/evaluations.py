"""Which forwards are evaluations, in which modes they run, and which of them are looked at.

A forward without gradient may evaluate, or be a part of the training: a teacher, a roll-out, the
generator of a discriminator's batch. So may one with gradient in evaluation mode, unless the model
is trained in that mode. What it was is known later: an evaluation when its result is logged, a part
of training when a backward pass begins. Until then such forwards of one mode are one block. Where
both eval() and no_grad() are forgotten, a forward that has no backward pass before the next one
tells it.

The modes of every evaluation are read, and those of the first training forward after it. Of the
evaluations 1, 2, 4, 8 and so on the first batch is looked at as in a sampled step, whatever the
budget of the samples says: their number grows with the logarithm of the evaluations alone.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from torch import is_grad_enabled, nn

from telemetry.capture.activations.modes import ModeReader, Modes
from telemetry.capture.activations.records import TRAIN
from telemetry.capture.activations.watch import ModuleWatch
from telemetry.capture.budget.costs import Costs
from telemetry.capture.isolation.guard import Guard, guarded
from telemetry.capture.steps.evaluation_names import name_evaluation
from telemetry.capture.steps.ledger import StepLedger, StepRecord
from telemetry.format.step_flags import StepFlag

PART = "evaluations"
EVAL, NO_GRAD = "eval", "no_grad"
# Blocks of one mode that were no evaluation, beyond four for each that was one: whose modes are
# read, and which are looked at.
MAX_UNNAMED, MAX_LOOKS_IN_VAIN = 64, 4


class _Suspected(NamedTuple):
    """What was logged as an evaluation after forwards like those of training."""

    record: StepRecord
    modes: Modes
    n_samples: int


class EvaluationWatch:
    """Tells evaluations from other forwards, and what is recorded of them.

    Args:
        model: Unwrapped.
        guard: Contains failures.
        ledger: Tells the step to which an evaluation belongs.
        modules: Look at forwards.
        costs: Told when forwards are looked at that are in no sampled step.

    Attributes:
        is_open: There are forwards of which nobody knows yet what they were.
        may_be_one: The last forward is one of them.
        is_looking: Modules are looked at for an evaluation outside of sampled steps.
    """

    def __init__(
        self,
        model: nn.Module,
        guard: Guard,
        ledger: StepLedger,
        modules: ModuleWatch,
        costs: Costs,
    ) -> None:
        self.is_open = self.may_be_one = self.is_looking = False
        self._model = model
        self._guard = guard
        self._ledger = ledger
        self._modules = modules
        self._costs = costs
        self._reader = ModeReader(model)
        self._kind: tuple[bool, bool] | None = None  # of the last forward: gradient, mode
        # Of training: the mode it is known to run in, that of the last forward, and all modes.
        self._trained_mode: bool | None = None
        self._last_mode = True
        self._training: Modes | None = None
        self._is_due = True
        # Of the block that is open.
        self._has_gradient = self._mode = self._was_looked_at = False
        self._evaluating: Modes | None = None
        self._n_samples = 0
        # Of training, without a backward pass until now.
        self._n_forwards = self._n_trained = 0
        self._suspected: _Suspected | None = None
        self._n_evaluations = 0
        self._last_step = -1
        self._n_unnamed: Counter[bool] = Counter()
        self._n_looks_in_vain: Counter[bool] = Counter()

    def step_begins(self, record: StepRecord) -> None:
        """Read the modes of the training in sampled steps."""
        self._n_forwards = self._n_trained = 0
        self._suspected = None  # the step ended without a backward pass: such are all its forwards
        if record.sampled:
            self._is_due, self._kind = True, None

    @guarded(PART)
    def forward(self, module: nn.Module) -> None:
        """A forward begins that is none of a closure or a checkpoint."""
        has_gradient = is_grad_enabled()
        mode = module.training and self._model.training
        if (has_gradient, mode) == self._kind:
            return
        self._kind = has_gradient, mode
        if has_gradient and self._suspected is not None:
            self._tell_suspected()
        self.may_be_one = not has_gradient or (not mode and self._trained_mode is not False)
        if has_gradient:
            self._stop_looking()
            self._last_mode = mode
            wanted = self._is_due or self.may_be_one
            self._training = self._reader.read() if wanted else None
        self._modules.may_evaluate(is_so=self.may_be_one)
        if self.may_be_one:
            self._begin(has_gradient=has_gradient, mode=mode)

    @property
    def usual_mode(self) -> bool | None:
        """The mode in which forwards with gradient are those of the training, if nothing is due."""
        kind = self._kind
        if kind is None or not kind[0] or self.is_open or self._suspected is not None:
            return None
        return None if self.may_be_one or self._training is not None else kind[1]

    def trained(self) -> None:
        """A forward like those before it had its backward pass."""
        self._n_forwards = self._n_trained = 0

    def count(self, record: StepRecord, n_samples: int) -> None:
        """Count examples of a forward; with gradient it is training, unless it may evaluate."""
        if self.may_be_one:
            self._n_samples += n_samples
        else:
            record.samples += n_samples
            self._n_trained += n_samples
            self._n_forwards += 1

    @guarded(PART)
    def backward_begins(self, record: StepRecord, *, is_own: bool) -> None:
        """What is open was no evaluation.

        Args:
            record: Of the step in progress.
            is_own: The pass is one of this model's training.
        """
        if is_own:
            self._train(record)
        if not self.is_open:
            return
        is_training = self._has_gradient and self._mode is self._last_mode
        if is_training and is_own:
            record.samples += self._n_samples
        if not self._has_gradient:
            self._tell(record, self._evaluating, is_named=False)
        self._n_unnamed[self._mode] += 1
        self._n_looks_in_vain[self._mode] += self._was_looked_at
        self._close(TRAIN if is_training else NO_GRAD)

    @guarded(PART)
    def logged(self, names: Iterable[str] | None) -> bool:
        """Metrics were logged, or a block of the user has ended that is an evaluation.

        Args:
            names: Of the metrics; None: the user says that it was one.

        Returns:
            Whether forwards without gradient had run.
        """
        is_named = names is None or name_evaluation(names)
        if is_named and not self.is_open and self._n_forwards:
            self._suspect(self._ledger.current)
        if not self.is_open or (self._has_gradient and not is_named):
            return False
        had_none = not self._has_gradient
        record = self._ledger.last_begun
        if is_named and self._evaluating is None and self._model.training is self._mode:
            self._evaluating = self._reader.read()
        self._tell(record, self._evaluating, is_named=is_named)
        if not is_named:
            self._n_unnamed[self._mode] += 1
            self._n_looks_in_vain[self._mode] += self._was_looked_at
        self._close(EVAL, record.step)
        return had_none

    def step_ends(self) -> None:
        """Whatever is looked at was begun in this step."""
        if self.is_looking:
            self._stop_looking()

    @guarded(PART)
    def close(self) -> None:
        """Recording ends."""
        if self._suspected is not None:
            self._tell_suspected()

    # --- inside -------------------------------------------------------------------------------

    def _begin(self, *, has_gradient: bool, mode: bool) -> None:
        self._stop_looking()
        self.is_open = True
        self._has_gradient, self._mode, self._was_looked_at = has_gradient, mode, False
        self._n_samples = 0
        self._evaluating = None
        if self._n_unnamed[mode] > MAX_UNNAMED + 4 * self._n_evaluations:
            return
        self._evaluating = self._training if has_gradient else self._reader.read()
        n = self._n_evaluations + 1
        is_first_of_step = self._ledger.last_begun.step != self._last_step
        if is_first_of_step and n & (n - 1) == 0 and self._may_look:
            self._was_looked_at = True
            self._look()

    @property
    def _may_look(self) -> bool:
        return self._n_looks_in_vain[self._mode] < MAX_LOOKS_IN_VAIN + self._n_evaluations

    def _look(self) -> None:
        record = self._ledger.current
        if record.sampled or not self._costs.governor.may_sample:
            return
        self._costs.look_begins()
        self._modules.begin_evaluation(record.step)
        self.is_looking = True

    def _stop_looking(self) -> None:
        if self.is_looking:
            self.is_looking = False
            self._modules.end_evaluation()
            self._costs.look_ends()

    def _close(self, phase: str, step: int | None = None) -> None:
        self._stop_looking()
        self.is_open = self.may_be_one = False
        self._kind = None
        self._modules.settle(phase, step)

    def _train(self, record: StepRecord) -> None:
        """The forwards before were those of training."""
        self._n_forwards = self._n_trained = 0
        suspected, self._suspected = self._suspected, None
        if suspected is not None:  # no forward came since
            record.samples += suspected.n_samples
        if self._kind is None:
            return
        self._trained_mode = self._last_mode
        modes, self._training = self._training, None
        if modes is None:
            return
        self._is_due, self._kind = False, None
        record.values["training_share"] = modes.training_share
        record.values["norm_training"] = modes.n_norm
        record.values["dropout_training"] = modes.n_dropout

    def _suspect(self, record: StepRecord) -> None:
        """Forwards like those of training had no backward pass, and a result was logged."""
        if record.backward_calls or self._suspected is not None:
            return
        record.samples -= self._n_trained
        record.forget("batch_hash")
        self._suspected = _Suspected(self._ledger.last_begun, self._reader.read(), self._n_trained)
        self._n_forwards = self._n_trained = 0
        self._kind = None

    def _tell_suspected(self) -> None:
        suspected, self._suspected = self._suspected, None
        if suspected is not None:
            self._tell(suspected.record, suspected.modes, is_named=True)

    def _tell(self, record: StepRecord, modes: Modes | None, *, is_named: bool) -> None:
        """Write modes to a step: of several loaders the worst, and of others the last."""
        was_named = bool(record.flags & StepFlag.EVALUATED)
        if is_named:
            record.flags |= StepFlag.EVALUATED
            self._n_evaluations += record.step != self._last_step
            self._last_step = record.step
            self._is_due = True
        if modes is None or (was_named and not is_named):
            return
        values = record.values
        for column, value in (
            ("eval_training_share", modes.training_share),
            ("eval_norm_training", modes.n_norm),
            ("eval_dropout_training", modes.n_dropout),
        ):
            former = values.get(column)
            values[column] = value if former is None or not was_named else max(former, value)
