"""The classifier answers one class.

Symptom: over the last 640 training examples or more, 98 % of the answers are one class, which at
least a fifth fewer of the labels are.
Fix: mostly another finding is the cause. If none is, check the weights of the classes, the mapping
of the labels and the bias of the last layer.
Not flagged: labels of which nine tenths are one class; early training; a class that half of the
labels are, or a run that still learns (information); answers where few targets count, such as
padding; losses over many entries of a sample; classifiers of more than 4,096 classes.
Source: Humbatova et al., arXiv:1910.11015.

A symptom of almost anything; a root only where the loss falls all the same, as with wrong weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.progress import State
from telemetry.diagnose.judgement.robust import FloatArray
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.store.sessions.rows import Rows

ID = "class_collapse"
ANSWER_SHARE = 0.98  # healthy after 150 steps at most 0.22 of ten classes; collapsed 1.0
LABEL_SHARE = 0.9  # beyond, answering one class is a good classifier's answer
EXCESS_SHARE = 0.2
MAJORITY = 0.5  # of the labels: the best answer wherever inputs tell little
WINDOW = 128  # examples
N_WINDOWS = 5
BINARY = "binary_cross_entropy"  # with or without logits

SQL = """
SELECT
    r.step,
    r.rank,
    r.site,
    r.loss_op,
    MAX(r.n_profile) AS n_profile,
    MAX(r.profile) AS profile
FROM module_rows AS r
WHERE r.run = $run
    AND r.phase = 'train'
    AND r.site IN ('logits', 'target')
    AND r.loss_op IS NOT NULL
    AND r.n_profile > 1
GROUP BY r.step, r.rank, r.site, r.loss_op
ORDER BY r.step DESC, r.rank, r.site
LIMIT 2000
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """Examples per class of some samples together: answers and labels, shape (n_classes,)."""

    first_step: int
    last_step: int
    answers: FloatArray
    labels: FloatArray

    @property
    def top_share(self) -> float:
        """Share of the commonest answer, where every label that is ignored had another one."""
        counted = min(1.0, self.labels.sum() / self.answers.sum())
        return float(1.0 - (1.0 - self.answers.max() / self.answers.sum()) / counted)


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The newest windows of 128 examples; all must answer the same class."""
    windows = _windows(_batches(rows, context))
    if len(windows) < N_WINDOWS:
        return NotChecked(
            detector=ID,
            reason=f"predictions and labels are known for {len(windows)} windows of {WINDOW} "
            f"examples after step {context.warm_in}; at least {N_WINDOWS} are needed. "
            "They are counted at the input of cross_entropy, nll_loss and binary "
            "cross-entropy",
        )
    newest = _collapsed(windows[:N_WINDOWS], limits)
    if newest is None:
        return None
    since = windows[N_WINDOWS - 1]
    for window in windows[N_WINDOWS:]:
        if _collapsed([window], limits) != newest:
            break
        since = window
    return _finding(
        newest, windows[:N_WINDOWS], since.first_step, context, limit=limits["answer_share"]
    )


def _collapsed(windows: Sequence[_Window], limits: Limits) -> int | None:
    """The class that all of them answer although the labels are others."""
    labels = np.sum([window.labels for window in windows], axis=0)
    tops = {int(window.answers.argmax()) for window in windows}
    share = min(window.top_share for window in windows)
    if len(tops) > 1 or share < limits["answer_share"]:
        return None
    top = tops.pop()
    usual = labels / labels.sum()
    other = usual.max() <= LABEL_SHARE and share - usual[top] >= limits["excess_share"]
    return top if other else None


def _batches(rows: Rows, context: RunContext) -> list[_Window]:
    """Sampled batches after the warm-in, the newest first, whose answers and labels are known."""
    found: list[_Window] = []
    waiting: dict[tuple[object, ...], FloatArray] = {}
    for record in rows.records():
        step, profile, n_classes = record["step"], record["profile"], record["n_profile"]
        if not isinstance(step, int) or step < context.warm_in:
            break
        if not isinstance(profile, bytes) or len(profile) != 4 * int(str(n_classes)):
            continue
        counts = np.frombuffer(profile, dtype=np.float32).astype(np.float64)
        batch = (step, record["rank"], record["loss_op"])
        if record["site"] == "logits":
            waiting[batch] = counts
            continue
        answers = waiting.pop(batch, None)
        if answers is None or answers.size != counts.size or not (counts.sum() and answers.sum()):
            continue
        dense = counts.sum() > context.batch_size and str(record["loss_op"]).startswith(BINARY)
        if not dense:
            found.append(_Window(first_step=step, last_step=step, answers=answers, labels=counts))
    return [batch for batch in found if batch.answers.size == found[0].answers.size]


def _windows(batches: Sequence[_Window]) -> list[_Window]:
    """Successive batches together until they hold 128 labels, the newest first."""
    found: list[_Window] = []
    held: list[_Window] = []
    for batch in batches:
        held.append(batch)
        labels = np.sum([entry.labels for entry in held], axis=0)
        if labels.sum() >= WINDOW:
            answers = np.sum([entry.answers for entry in held], axis=0)
            first, last = held[-1].first_step, held[0].last_step
            found.append(_Window(first_step=first, last_step=last, answers=answers, labels=labels))
            held = []
    return found


def _finding(
    top: int,
    windows: Sequence[_Window],
    first_step: int,
    context: RunContext,
    *,
    limit: float,
) -> Candidate:
    progress = context.progress
    labels = np.sum([window.labels for window in windows], axis=0)
    usual = float(labels[top] / labels.sum())
    share = min(window.top_share for window in windows)
    # One class for half of a run, under a loss that no longer falls, is all that was learned,
    # whatever the level of a loss that weighs the classes says.
    lasts = first_step <= context.last_step / 2 and not progress.falls
    fails = progress.failing or progress.state is State.CONVERGED or lasts
    serious = fails and usual < MAJORITY
    return Candidate(
        strength=measured(Size.CLEAR if serious else Size.SLIGHT),
        message=f"{share:.0%} of the predictions are class {top} of {labels.size}, but only "
        f"{usual:.0%} of the labels are (limit {limit:.0%})",
        advice="Look at the other findings first; if there are none, check the class weights of "
        "the loss, the mapping of labels to classes, and the bias of the last layer.",
        first_step=first_step,
        last_step=windows[0].last_step,
        value=share,
        threshold=limit,
        unit="share",
        evidence={
            "class": top,
            "label_share": usual,
            "n_examples": int(labels.sum()),
            "state": progress.state,
            "query": (
                "select step, max(value) / sum(value) as answer_share from profiles where "
                "site = 'logits' and phase = 'train' group by step order by step"
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the classifier predicts a single class",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={"answer_share": ANSWER_SHARE, "excess_share": EXCESS_SHARE},
    advice="Look for the cause among the other findings; otherwise check class weights and labels.",
    source="arXiv:1910.11015",
    judge=judge,
    explains_symptoms=False,
    shown=Shown(
        unit="share",
        normal=(
            "After the first steps the predictions are spread over the classes about as the "
            "labels are."
        ),
    ),
)
