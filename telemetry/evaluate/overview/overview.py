"""One page about a trained model, of what its run has stored: nothing is run.

Is it as right as it is sure? What does it take for what? Where is it worst? What leads its wrong
answers? What does training lack?
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.errors import Inconclusive, UsageError
from telemetry.evaluate.overview.calibration import Calibration, calibration_of
from telemetry.evaluate.overview.lacks import first_lack, lacks_of
from telemetry.evaluate.overview.leaders import Leader, leaders_of
from telemetry.evaluate.slicing.slices import SlicedRun, Slices, find
from telemetry.evaluate.stored.evaluations import (
    Examples,
    choose_evaluation,
    read_examples,
    stored_evaluations,
)
from telemetry.evaluate.stored.explanations import (
    StoredExplanation,
    stored_explanations,
    strongest,
)
from telemetry.json_values import Json
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import as_text
from telemetry.store.store import Store

WRONG_ANSWERS = 20  # that are summed up
PAIRS, GROUPS = 5, 3  # that are told
INPUT, COVERAGE = "input", "coverage"  # parts of `telemetry explain`


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """So many examples of a label are called something else; `share`: of those of the label."""

    label: str
    prediction: str
    n: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overview:
    """What is known of a model's answers.

    Attributes:
        examples: Its newest evaluation.
        calibration: Whether it is as right as it is sure; None: it has no classes.
        confusions: What is most often taken for what.
        slices: Groups that are worse than the rest; None: that could not be asked, see `notes`.
        wrong: Ids of wrong answers from the largest loss to the least, equally far from each other.
        explained: The stored answers about those.
        leaders: What leads them, the most frequent first.
        gaps: Stored answers about what training lacks.
        notes: What could not be said, and why.
    """

    examples: Examples
    calibration: Calibration | None
    confusions: tuple[Confusion, ...]
    slices: Slices | None
    wrong: tuple[str, ...]
    explained: tuple[StoredExplanation, ...]
    leaders: tuple[Leader, ...]
    gaps: tuple[StoredExplanation, ...]
    notes: tuple[str, ...]

    @property
    def unexplained(self) -> tuple[str, ...]:
        """Wrong answers that nobody has asked about."""
        known = {as_text(asked.rows[0]["example_id"]) for asked in self.explained}
        return tuple(example for example in self.wrong if example not in known)

    @property
    def answer(self) -> str:
        """All of it in one sentence."""
        evaluation = self.examples.evaluation
        n_wrong = int(np.nansum(self.examples.errors))
        of_all = f"{n_wrong} of {evaluation.n} examples of {evaluation.dataset}"
        told = [f"{of_all} are answered wrongly"]
        if self.calibration is not None:
            told.append(f"the model is {self.calibration.sentence}")
        if self.slices is not None and self.slices.slices:
            told.append(self.slices.answer)
        if self.leaders:
            first = self.leaders[0]
            told.append(f"{first.part} leads in {first.n} of {len(self.explained)} wrong answers")
        lack = first_lack(self.gaps[0]) if self.gaps else None
        return "; ".join([*told, lack] if lack else told)

    def picture(self, name: str) -> bytes | None:
        """A picture of a wrong answer by its place in the run; None: there is none."""
        kept = (asked.picture for asked in self.explained if asked.image == name)
        path = next(kept, None)
        return None if path is None else path.read_bytes()

    def to_json(self) -> dict[str, Json]:
        """The document of `telemetry explain RUN --json`."""
        evaluation, calibration = self.examples.evaluation, self.calibration
        return {
            "answer": self.answer,
            "dataset": evaluation.dataset,
            "checkpoint": evaluation.checkpoint,
            "step": evaluation.step,
            "examples": evaluation.n,
            "wrong": int(np.nansum(self.examples.errors)),
            "calibration": None if calibration is None else calibration.to_json(),
            "confusions": [
                {"label": c.label, "prediction": c.prediction, "n": c.n, "share": c.share}
                for c in self.confusions
            ],
            "groups": [
                {"group": s.title, "n": s.n, "value": s.value, "rest": s.rest, "where": s.where}
                for s in (self.slices.slices[:GROUPS] if self.slices is not None else ())
            ],
            "leaders": [{"part": x.part, "n": x.n, "ids": list(x.ids)} for x in self.leaders],
            "wrong_answers": [
                {
                    "id": asked.id,
                    "about": asked.about,
                    "answer": asked.answer,
                    "picture": None if asked.picture is None else asked.image,
                }
                for asked in self.explained
            ],
            "gaps": [
                {"id": asked.id, "answer": asked.answer, "lacks": list(lacks_of(asked))}
                for asked in self.gaps
            ],
            "unexplained": list(self.unexplained),
            "notes": list(self.notes),
        }


def overview(store: Store, run: Run) -> Overview:
    """What a run's stored evaluation and answers say together.

    Raises:
        UsageError: no example of the run was evaluated.
    """
    with store.session([run]) as session:
        evaluation = choose_evaluation(stored_evaluations(session), run)
        examples = read_examples(session, evaluation)
    asked = [
        one for one in stored_explanations(store, [run]) if one.checkpoint == evaluation.checkpoint
    ]
    wrong = _spread(examples)
    explained = _about(wrong, asked)
    slices, notes = _slices(store, run, evaluation.eval_id)
    return Overview(
        examples=examples,
        calibration=calibration_of(examples),
        confusions=tuple(_confusions(examples)),
        slices=slices,
        wrong=wrong,
        explained=explained,
        leaders=leaders_of(explained),
        gaps=tuple(one for one in asked if one.verb == COVERAGE),
        notes=notes,
    )


def _spread(examples: Examples) -> tuple[str, ...]:
    """Ids of wrong answers from the largest loss to the least, which stand for all of them.

    Those of the largest loss are no sample: everything about them speaks for the wrong class, and
    what varies most leads them.
    """
    losses = np.nan_to_num(examples.rows.floats("loss"), nan=np.inf)
    order = [place for place in np.argsort(-losses, kind="stable") if examples.errors[place] == 1]
    n = min(WRONG_ANSWERS, len(order))
    chosen = np.linspace(0, len(order) - 1, n).round().astype(np.int64)
    return tuple(examples.ids[order[place]] for place in chosen)


def _about(
    wrong: Sequence[str], asked: Sequence[StoredExplanation]
) -> tuple[StoredExplanation, ...]:
    """The newest stored answer about each wrong one, in their order."""
    newest: dict[str, StoredExplanation] = {}
    for one in asked:  # the newest first
        if one.verb == INPUT and strongest(one):
            newest.setdefault(as_text(one.rows[0]["example_id"]), one)
    return tuple(newest[example] for example in wrong if example in newest)


def _confusions(examples: Examples) -> list[Confusion]:
    labels, predictions = (examples.rows.texts(name) for name in ("label", "prediction"))
    of_label = Counter(labels)
    answered = zip(labels, predictions, strict=True)
    pairs = Counter(pair for pair in answered if "" not in pair and pair[0] != pair[1])
    return [
        Confusion(label=label, prediction=prediction, n=n, share=n / of_label[label])
        for (label, prediction), n in pairs.most_common(PAIRS)
    ]


def _slices(store: Store, run: Run, eval_id: str) -> tuple[Slices | None, tuple[str, ...]]:
    try:
        found = find(store, SlicedRun(run=run, eval_id=eval_id))
    except (UsageError, Inconclusive) as error:
        return None, (f"worst group: {error}",)
    return found, ()
