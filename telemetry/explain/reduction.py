"""What is the least that must change so that a wrong answer becomes right, and where is the cause?

A wrong input is mixed with a right one, part by part. The least set of parts that mends the answer
is often a fraction of the cause, for half a fault mended is enough; the region, of all parts that
help by themselves, says where the cause lies.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from telemetry.errors import Inconclusive, UsageError
from telemetry.explain import checks as checking
from telemetry.explain.checks import Check
from telemetry.explain.classifier import Classifier
from telemetry.explain.ddmin import Items, Judge, Least, Trials, ddmin
from telemetry.explain.differences import Cells, Differences, differences_of
from telemetry.explain.examples import Example
from telemetry.explain.identities import identity_of
from telemetry.explain.masks import soft_mask
from telemetry.explain.subject import Subject
from telemetry.explain.twins import Twin, twin_of

REPAIR, BREAK = "repair", "break"
MOST_CALLS = 2000  # of one search
MOST_SINGLES = 64  # columns or tokens that are tried one by one before sets of them
LEAST_RISE = 0.05  # nats of the true class, below which no part helps by itself
RISE_SHARE = 0.25  # of the largest rise, from which a part belongs to the region
MOST_ROUNDS = 12  # of disjoint repairs
NOTABLE_LIMIT = 0.6  # share of cells beyond which the difference of two images is everywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How it is searched.

    Attributes:
        cell: Side of a cell of an image, in pixels; None: 2, or what gives 256 cells.
        mode: `repair` or `break`; None: both.
        most_calls: Mixtures that one search may ask about.
        immutable: Columns that stay as they are.
        batch: Inputs a forward.
        tolerance: Largest error of a regression that is still right.
    """

    cell: int | None = None
    mode: str | None = None
    most_calls: int = MOST_CALLS
    immutable: tuple[str, ...] = ()
    batch: int = 64
    tolerance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reduction:
    """The least difference between a wrong and a right answer.

    Attributes:
        id: Equal for equal questions to equal weights.
        wrong: The example that is answered wrongly.
        twin: The input that it is mixed with.
        label: The true class.
        prediction: The wrong answer.
        differences: Between both.
        repair: Least set that, taken from the twin, makes it right; None: not asked.
        breaking: Least set that, put into the twin, makes that wrong; None: not asked.
        region: Where the cause lies; for rows and texts the repair.
        p_before: Probability of the true class; a regression has none.
        p_after: The same with the repair.
        checks: What it was held against.
        calls: Mixtures that were asked about.
        forwards: Inputs that the model was run on.
        seconds: How long it took.
        tolerance: Largest error that is still right; None: of a classifier.
    """

    id: str
    wrong: Example
    twin: Twin
    label: str
    prediction: str
    differences: Differences
    repair: Least | None
    breaking: Least | None
    region: Items
    p_before: float | None
    p_after: float | None
    checks: tuple[Check, ...]
    calls: int
    forwards: int
    seconds: float
    tolerance: float | None

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)


def reduce(
    subject: Subject,
    wrong: str | Example,
    right: str | Example | None = None,
    settings: Settings | None = None,
) -> Reduction:
    """The least difference between a wrongly answered example and a right one.

    Args:
        subject: Model and examples.
        wrong: Id or place of an example that is answered wrongly.
        right: Id or place of one that is answered with the true class of `wrong`, or a file, see
            `read_input`; `nearest`: the most similar of that class; `blur` or `mean`: `wrong`
            itself, blurred or flat; None: `nearest`, of images `blur`.
        settings: How.

    Raises:
        UsageError: an unknown example, two that cannot be mixed, or a regression.
        Inconclusive: both are answered alike, or nothing that was tried mends the answer.
    """
    settings, started = settings or Settings(), time.perf_counter()
    if settings.mode not in {REPAIR, BREAK, None}:
        raise UsageError(f"--mode {settings.mode}: say {REPAIR} or {BREAK}.")
    with subject.running():
        classifier = Classifier(subject, settings.batch, settings.tolerance)
        chosen = classifier.examples.find(wrong) if isinstance(wrong, str) else wrong
        return _Search(classifier, chosen, right, settings).answer(subject, started)


class _Search:
    """One pair on its way to an answer."""

    def __init__(
        self,
        classifier: Classifier,
        wrong: Example,
        right: str | Example | None,
        settings: Settings,
    ) -> None:
        self._classifier, self._wrong, self._settings = classifier, wrong, settings
        self._truth = classifier.truth(wrong)
        before = classifier([wrong.input], [self._truth])
        self._p_before = classifier.probability(before.log_p[0])
        self._log_p_before = float(before.log_p[0])
        self._prediction = classifier.name(before.predictions[0])
        if bool(before.right[0]):
            raise Inconclusive(
                f"example {wrong.id} is answered rightly ({self._prediction}); there is nothing to "
                "mend. `telemetry explain input RUN --worst 1` shows wrong ones."
            )
        self._twin = twin_of(right, wrong, classifier)
        self._differences = differences_of(
            wrong.input,
            self._twin.input,
            classifier.examples,
            cell=settings.cell,
            immutable=settings.immutable,
        )
        self._everything = tuple(range(len(self._differences)))
        self._calls = 0

    def answer(self, subject: Subject, started: float) -> Reduction:
        """Search, then check."""
        mode = self._settings.mode
        start = self._start()
        repair = self._least(start, self._mends, self._rises) if mode != BREAK else None
        breaking = None
        if mode != REPAIR and self._twin.is_real:
            breaking = self._least(self._everything, self._spoils, self._falls)
        region = self._region(repair, start)
        p_after = None if repair is None else self._p_label(repair.items)
        checks = tuple(self._checks(region))
        return Reduction(
            id=self._identity(subject),
            wrong=self._wrong,
            twin=self._twin,
            label=self._classifier.name(self._truth),
            prediction=self._prediction,
            differences=self._differences,
            repair=repair,
            breaking=breaking,
            region=region,
            p_before=self._p_before,
            p_after=p_after,
            checks=checks,
            calls=self._calls,
            forwards=self._classifier.forwards,
            seconds=time.perf_counter() - started,
            tolerance=self._settings.tolerance,
        )

    def _start(self) -> Items:
        """Differences that, taken together, mend the answer.

        Raises:
            Inconclusive: there are none.
        """
        if self._mends([self._everything])[0]:
            return self._everything
        if self._twin.is_real:
            hint = " with the columns that may change" if self._settings.immutable else ""
            raise Inconclusive(
                f"the pair does not differ in outcome: {self._twin.name}{hint} is not answered "
                f'"{self._classifier.name(self._truth)}"; choose another --right.'
            )
        order = self._rises().argsort(descending=True).tolist()
        prefixes = [tuple(sorted(order[:n])) for n in range(1, len(order) + 1)]
        hits = (p for p, good in zip(prefixes, self._mends(prefixes), strict=True) if good)
        found = next(hits, None)
        if found is None:
            raise Inconclusive(
                f"no set of cells mends the answer when {self._twin.name}; name an example that "
                "is answered rightly by --right."
            )
        return found

    def _least(self, start: Items, judge: Judge, strengths: Callable[[], Tensor]) -> Least:
        """A set without a part that could be left out; of few differences, one alone if one does.

        There may be several such sets. Of single columns or tokens that do it, the strongest is
        the answer, not the first.
        """
        if not isinstance(self._differences, Cells) and len(start) <= MOST_SINGLES:
            singles = [(item,) for item in start]
            good = judge(singles)
            if any(good):
                found = strengths().tolist()
                able = [item for item, does in zip(start, good, strict=True) if does]
                best = max(able, key=found.__getitem__)
                return Least(items=(best,), proven=True)
        trials = Trials(judge=judge, most=self._settings.most_calls)
        return ddmin(start, trials)

    def _region(self, repair: Least | None, start: Items) -> Items:
        """Cells that help by themselves; where none does, all repairs that do not overlap."""
        if not (isinstance(self._differences, Cells) and self._twin.is_real):
            return repair.items if repair is not None else ()
        rises = self._rises()
        most = float(rises.max())
        if most > LEAST_RISE:
            return tuple(int(item) for item in (rises >= RISE_SHARE * most).nonzero()[:, 0])
        return self._disjoint_repairs(repair, start)

    def _disjoint_repairs(self, repair: Least | None, start: Items) -> Items:
        trials = Trials(judge=self._mends, most=self._settings.most_calls)
        first = repair or ddmin(start, trials)
        found, left = set(first.items), tuple(i for i in start if i not in first.items)
        for _ in range(MOST_ROUNDS - 1):
            if not left or (trials.ask([left]) or [False]) == [False]:
                break
            least = ddmin(left, trials)
            found |= set(least.items)
            left = tuple(item for item in left if item not in least.items)
        return tuple(sorted(found))

    def _rises(self) -> Tensor:
        """How much each difference alone raises the true class, nats; shape (n,)."""
        return self._log_p([(item,) for item in self._everything]) - self._log_p_before

    def _falls(self) -> Tensor:
        """How much less likely each difference, put into the twin, makes the true class, nats."""
        return -self._log_p([self._but((item,)) for item in self._everything])

    def _log_p(self, sets: Sequence[Items]) -> Tensor:
        """Logarithm of the probability of the true class of mixtures, shape (n,)."""
        self._calls += len(sets)
        inputs = [self._differences.mixed(items) for items in sets]
        return self._classifier(inputs, [self._truth] * len(inputs)).log_p

    def _but(self, items: Items) -> Items:
        """All differences but some."""
        return tuple(item for item in self._everything if item not in set(items))

    def _mends(self, sets: Sequence[Items]) -> list[bool]:
        """Whether the wrong input with each set from the twin is answered rightly."""
        return self._right([self._differences.mixed(items) for items in sets])

    def _spoils(self, sets: Sequence[Items]) -> list[bool]:
        """Whether the twin with each set from the wrong input is answered wrongly."""
        rests = [self._differences.mixed(self._but(items)) for items in sets]
        return [not good for good in self._right(rests)]

    def _right(self, inputs: list[Tensor]) -> list[bool]:
        self._calls += len(inputs)
        return [bool(g) for g in self._classifier(inputs, [self._truth] * len(inputs)).right]

    def _p_label(self, items: Items) -> float | None:
        return self._classifier.probability(self._log_p([items])[0])

    def _checks(self, region: Items) -> list[Check]:
        twice = [self._classifier([self._wrong.input], [self._truth]).margin for _ in range(2)]
        found = [checking.determinism(twice[0], twice[1])]
        if not (isinstance(self._differences, Cells) and self._twin.is_real):
            return found
        cells = self._differences
        share = cells.notable_share
        found.append(
            Check(
                name="local",
                value=share,
                threshold=NOTABLE_LIMIT,
                ok=share <= NOTABLE_LIMIT,
                meaning="no local difference: both images differ nearly everywhere, perhaps they "
                "are not aligned",
            )
        )
        soft = soft_mask(cells.mask(region)).to(cells.wrong.dtype)
        mixtures = {
            "region_mends": cells.mixed(region),
            "soft_edge": soft * cells.right + (1 - soft) * cells.wrong,
        }
        meanings = {
            "region_mends": "the region taken from the right image does not mend the answer",
            "soft_edge": "with a soft edge the region does not mend the answer: the edge does",
        }
        for name, mixture in mixtures.items():
            good = self._right([mixture])[0]
            found.append(
                Check(name=name, value=float(good), threshold=1.0, ok=good, meaning=meanings[name])
            )
        return found

    def _identity(self, subject: Subject) -> str:
        settings = self._settings
        return identity_of(
            {
                "verb": "explain.reduce",
                "checkpoint": subject.identity,
                "wrong": self._wrong.digest,
                "label": str(self._wrong.label),
                "right": self._twin.digest,
                "twin": self._twin.name,
                "cell": settings.cell,
                "mode": settings.mode,
                "most_calls": settings.most_calls,
                "immutable": sorted(settings.immutable),
                "tolerance": settings.tolerance,
            }
        )
