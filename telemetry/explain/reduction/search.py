"""Searches the least difference of a pair by delta debugging, and where the cause lies."""

import time
from collections.abc import Callable, Sequence

from torch import Tensor

from telemetry.errors import Inconclusive, UsageError
from telemetry.explain.inputs.examples import Example
from telemetry.explain.models.classifier import Classifier
from telemetry.explain.models.subject import Subject
from telemetry.explain.progress import Progress
from telemetry.explain.reduction.ddmin import Items, Judge, Least, Trials, ddmin
from telemetry.explain.reduction.differences import Cells, differences_of
from telemetry.explain.reduction.result import Reduction
from telemetry.explain.reduction.twins import twin_of
from telemetry.explain.results.check import Check, determinism
from telemetry.explain.results.identities import identity_of
from telemetry.requests.explain.reduce import BREAK, REPAIR, ReduceSettings

MOST_SINGLES = 64  # columns or tokens that are tried one by one before sets of them
LEAST_RISE = 0.05  # nats of the true class, below which no part helps by itself
RISE_SHARE = 0.25  # of the largest rise, from which a part belongs to the region
MOST_ROUNDS = 12  # of disjoint repairs
NOTABLE_LIMIT = 0.6  # share of cells beyond which the difference of two images is everywhere
KEPT_SHARE = 0.5  # of what a repair does for the margin, once its edge is soft
N_SEARCHES = 2  # for a repair and for a break
MEANINGS = {
    "region_mends": "the region taken from the right image does not correct the answer",
    "soft_edge": "with a soft edge the cells do not correct the answer: their sharp edge does",
}


class Search:
    """One pair on its way to an answer.

    Args:
        classifier: Answers mixtures, inside `subject.running()`.
        wrong: What is answered wrongly, and its file if it has one.
        right: See `reduce`.
        settings: How.
        progress: Told of every batch of mixtures.

    Raises:
        UsageError: both cannot be mixed, or there is nothing to break.
        Inconclusive: the input is answered rightly, or no other is.
    """

    def __init__(
        self,
        classifier: Classifier,
        wrong: tuple[Example, str | None],
        right: str | Example | None,
        settings: ReduceSettings,
        progress: Progress | None = None,
    ) -> None:
        self._classifier, self._settings, self._progress = classifier, settings, progress
        self._wrong, self._file = wrong
        self._truth = classifier.truth(self._wrong)
        before = classifier([self._wrong.input], [self._truth])
        self._p_before = classifier.probability(before.log_p[0])
        self._log_p_before = float(before.log_p[0])
        self._prediction = classifier.name(before.predictions[0])
        if bool(before.right[0]):
            raise Inconclusive(
                f"{self._file or f'example {self._wrong.id}'} is answered correctly "
                f"({self._prediction}), so there is nothing to correct. `telemetry explain "
                "input RUN --worst 1` shows wrong answers."
            )
        self._twin = twin_of(right, self._wrong, classifier)
        self._differences = differences_of(
            self._wrong.input,
            self._twin.input,
            classifier.examples,
            cell=settings.cell,
            fills=self._twin.is_filled,
            immutable=settings.immutable,
        )
        if settings.mode == BREAK and not self._twin.is_real:
            raise UsageError(
                f"--mode {BREAK} needs a correctly answered input: name one with --right."
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
            origin=subject.origin,
            wrong=self._wrong,
            file=self._file,
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
                f"both inputs are answered wrongly: {self._twin.name}{hint} is not answered "
                f'"{self._classifier.name(self._truth)}"; choose another --right.'
            )
        order = self._rises().argsort(descending=True).tolist()
        prefixes = [tuple(sorted(order[:n])) for n in range(1, len(order) + 1)]
        hits = (p for p, good in zip(prefixes, self._mends(prefixes), strict=True) if good)
        found = next(hits, None)
        if found is None:
            raise Inconclusive(
                f"no set of cells corrects the answer when {self._twin.name}; name a correctly "
                "answered example with --right."
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
        self._count(len(sets))
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
        self._count(len(inputs))
        return [bool(g) for g in self._classifier(inputs, [self._truth] * len(inputs)).right]

    def _count(self, calls: int) -> None:
        self._calls += calls
        if self._progress is not None:
            of = N_SEARCHES * self._settings.most_calls
            self._progress(min(self._calls, of), of)

    def _p_label(self, items: Items) -> float | None:
        return self._classifier.probability(self._log_p([items])[0])

    def _checks(self, region: Items) -> list[Check]:
        twice = [self._classifier([self._wrong.input], [self._truth]).margin for _ in range(2)]
        found = [determinism(twice[0], twice[1])]
        if not isinstance(self._differences, Cells):
            return found
        cells = self._differences
        if not self._twin.is_real:
            return [*found, self._softened(cells, region)]
        found += [_local(cells), self._mending("region_mends", cells.mixed(region))]
        if found[-1].ok:  # else no edge is to blame
            found.append(self._mending("soft_edge", cells.faded(region)))
        return found

    def _mending(self, name: str, mixture: Tensor) -> Check:
        """Whether a mixture mends the answer."""
        good = self._right([mixture])[0]
        return Check(name=name, value=float(good), threshold=1.0, ok=good, meaning=MEANINGS[name])

    def _softened(self, cells: Cells, repair: Items) -> Check:
        """Whether a repair of which nothing can be left out keeps half of what it does."""
        mixtures = [cells.wrong, cells.mixed(repair), cells.faded(repair)]
        before, hard, soft = self._classifier(mixtures, [self._truth] * len(mixtures)).margin
        share = float((soft - before) / (hard - before))
        return Check(
            name="soft_edge",
            value=share,
            threshold=KEPT_SHARE,
            ok=share >= KEPT_SHARE,
            meaning=(
                "with a soft edge the cells have less than half of the effect: their sharp edge "
                "has the rest"
            ),
        )

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


def _local(cells: Cells) -> Check:
    """Whether two images differ somewhere and not everywhere."""
    share = cells.notable_share
    return Check(
        name="local",
        value=share,
        threshold=NOTABLE_LIMIT,
        ok=share <= NOTABLE_LIMIT,
        meaning="the difference is not local: both images differ nearly everywhere; perhaps "
        "they are not aligned",
    )
