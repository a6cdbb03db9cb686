"""Which samples are trained on and which are evaluated, as sketches of their hashes.

Training: forwards of steps whose batches are hashed anyway. A step counts only if each of its
forwards had a backward pass, for a forward with gradient may also be an evaluation that forgot
`no_grad`. Evaluation: forwards without gradient that end with a metric of which a word is val, test
or the like; the first evaluation, the second, the fourth and so on. What was not seen in full is
not told.
"""

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from telemetry.capture.budget.costs import Costs
from telemetry.capture.budget.hash_purse import WINDOW_STEPS
from telemetry.capture.data.batches import BatchHasher
from telemetry.capture.data.nearness import SampleCodes
from telemetry.capture.data.sample_hash import SampleHasher, distinct_values
from telemetry.capture.data.sketches import TRAIN, SamplePacket, Sketch
from telemetry.capture.isolation.guard import Guard, guarded
from telemetry.capture.isolation.torch_state import in_transform
from telemetry.capture.packet import Packet
from telemetry.capture.steps.evaluation_names import EVALUATION_WORDS, words_of
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.tensors.host import PackedTensors

PART = "samples"
MAX_FORWARDS = 16_384  # of training: some epochs of most data sets
FORWARDS_OF_STEP = 512  # of more, as where no step ever ends, nothing is kept
FORWARDS_PER_PACKET = 256
SAMPLES_PER_PACKET = 1 << 16
MAX_EVALUATED = 1 << 17  # samples of an evaluation: 1 MiB on the device
N_LOOKED_AT = 4  # training forwards whose distinct values are counted
MAX_CODED = 8192  # samples of training: those of several epochs of small data sets
MAX_EVALUATED_CODES = 256
MAX_UNNAMED = 64  # blocks without gradient, beyond four for each evaluation


class SampleWatch:
    """Hashes samples, and hands them to the sketches of the writer thread.

    Args:
        guard: Contains failures.
        put: Hands packets to the writer thread.
        costs: Charged for hashing; say whether it may go on.

    Attributes:
        hashes: The batches of the step in progress are hashed.
    """

    def __init__(self, guard: Guard, *, put: Callable[[Packet], None], costs: Costs) -> None:
        self._guard = guard
        self._put = put
        self._costs = costs
        self.hashes = False
        self._window_is_open = True  # of 64 steps
        self._batches = BatchHasher()
        self._hasher = SampleHasher()
        self._coder = SampleCodes()
        self._trained = Sketch()
        self._n_trained = 0  # forwards
        self._n_packets = 0
        self._of_step: list[Tensor] = []
        self._codes_of_step: list[Tensor] = []
        self._n_coded = 0  # samples of training
        self._ready: list[Tensor] = []
        self._coded: list[Tensor] = []
        self._n_ready = 0  # samples
        self._looked_at: list[Tensor] = []
        self._evaluated: list[Tensor] = []
        self._evaluation_looked_at: list[Tensor] = []
        self._evaluation_coded: list[Tensor] = []
        self._n_evaluated = 0  # samples
        self._in_evaluation = False
        self._is_whole = True  # the evaluation was hashed so far
        self._n_evaluations = 0
        self._n_unnamed = 0

    def step_begins(self, record: StepRecord) -> None:
        """Decide whether its batches are hashed; those of sampled steps are."""
        if record.step % WINDOW_STEPS == 0:
            self._window_is_open = self._costs.hashes(record.step)
        self.hashes = self._window_is_open or record.sampled

    def forward(
        self,
        record: StepRecord,
        module: nn.Module,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        *,
        may_evaluate: bool,
    ) -> None:
        """A forward with gradient, which may be one of an evaluation."""
        if may_evaluate:
            self.evaluated((args, kwargs))
            return
        if not self.hashes:
            return
        self._hash_batch(record, args, kwargs)
        is_wanted = self._n_trained < MAX_FORWARDS and len(self._of_step) < FORWARDS_OF_STEP
        if module.training and is_wanted:
            self._train((args, kwargs))

    @guarded("inputs")
    def _hash_batch(
        self, record: StepRecord, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        with self._costs.hashing():
            found = self._batches.total((args, kwargs))
            if found is not None:
                record.add("batch_hash", found)

    @guarded(PART)
    def _train(self, arguments: object) -> None:
        with self._costs.hashing():
            self._add_trained(arguments)

    def _add_trained(self, arguments: object) -> None:
        hashes = self._hasher(arguments)
        if hashes is None:
            self._n_trained = MAX_FORWARDS  # nor will the next ones be samples
            return
        self._n_trained += 1
        self._of_step.append(hashes)
        codes = self._coder(arguments) if self._n_coded < MAX_CODED else None
        if codes is not None:
            self._n_coded += len(codes)
            self._codes_of_step.append(codes)
        if self._n_trained <= N_LOOKED_AT:
            self._look(arguments, self._looked_at)

    @guarded(PART)
    def evaluated(self, arguments: object) -> None:
        """A forward without gradient, or another that may evaluate."""
        if not self._in_evaluation:
            self._in_evaluation = True
            self._is_whole = self._is_wanted()
        if not self._is_whole or in_transform():
            return
        if self._n_evaluated >= MAX_EVALUATED or not self._costs.purse.is_affordable:
            self._is_whole = False
            return
        with self._costs.hashing():
            self._evaluate(arguments)

    def _evaluate(self, arguments: object) -> None:
        hashes = self._hasher(arguments)
        if hashes is None:
            self._is_whole = False
            return
        if not self._evaluated:
            self._look(arguments, self._evaluation_looked_at)
        codes = self._coder(arguments) if self._n_evaluated < MAX_EVALUATED_CODES else None
        if codes is not None:
            self._evaluation_coded.append(codes)
        self._evaluated.append(hashes)
        self._n_evaluated += len(hashes)

    @guarded(PART)
    def logged(self, names: Iterable[str], step: int) -> None:
        """Metrics were logged: they say what the forwards without gradient were."""
        if not self._in_evaluation:
            return
        words = words_of(names)
        if words & EVALUATION_WORDS:
            self._n_evaluations += 1
            if self._is_whole and self._evaluated:
                with_train = any(word.startswith("train") for word in words)
                self._tell_evaluation(step, phase="both" if with_train else "eval")
        self._forget_evaluation()

    def step_ended(self, record: StepRecord) -> None:
        """A step is over; what was evaluated in it and not logged was no evaluation."""
        if self._of_step or self._in_evaluation:
            self._end_step(record)

    @guarded(PART)
    def close(self, step: int) -> None:
        """Recording ends."""
        if self._n_packets or self._ready:
            self._tell_training(step, tells=True)

    @guarded(PART)
    def _end_step(self, record: StepRecord) -> None:
        if self._in_evaluation:
            self._n_unnamed += 1
            self._forget_evaluation()
        if len(self._of_step) == record.backward_calls:
            self._ready += self._of_step
            self._n_ready += sum(map(len, self._of_step))
            self._coded += self._codes_of_step
        self._of_step, self._codes_of_step = [], []
        if len(self._ready) >= FORWARDS_PER_PACKET or self._n_ready >= SAMPLES_PER_PACKET:
            # A run that is killed is known up to half of what it has seen.
            n = self._n_packets + 1
            self._tell_training(record.step, tells=n & (n - 1) == 0)

    def _is_wanted(self) -> bool:
        """Evaluations 1, 2, 4, 8 and so on, unless most of what has no gradient is none."""
        n = self._n_evaluations + 1
        few_unnamed = self._n_unnamed <= MAX_UNNAMED + 4 * self._n_evaluations
        return n & (n - 1) == 0 and few_unnamed

    def _look(self, arguments: object, into: list[Tensor]) -> None:
        found = distinct_values(arguments)
        if found is not None:
            into.append(found)

    def _tell_training(self, step: int, *, tells: bool) -> None:
        self._n_packets += 1
        self._put(
            SamplePacket(
                sketch=self._trained,
                n_forwards=len(self._ready),
                n_coded=len(self._coded),
                packed=PackedTensors([*self._ready, *self._coded, *self._looked_at]),
                phase=TRAIN,
                step=step,
                tells=tells,
            )
        )
        self._ready, self._coded, self._looked_at = [], [], []
        self._n_ready = 0

    def _tell_evaluation(self, step: int, *, phase: str) -> None:
        self._tell_training(step, tells=True)  # what it is held against
        self._put(
            SamplePacket(
                sketch=Sketch(),
                n_forwards=len(self._evaluated),
                n_coded=len(self._evaluation_coded),
                packed=PackedTensors(
                    [*self._evaluated, *self._evaluation_coded, *self._evaluation_looked_at]
                ),
                phase=phase,
                step=step,
                tells=True,
            )
        )

    def _forget_evaluation(self) -> None:
        self._evaluated, self._evaluation_looked_at, self._evaluation_coded = [], [], []
        self._n_evaluated = 0
        self._in_evaluation = False
