"""How far a run came, in a sentence, and what may be to blame where no rule is sure.

A run that fails is never left in silence: where no finding explains it, what rules told as
information is named as a suspect, and the rules that could not look are counted.
"""

import math
from collections.abc import Sequence

from telemetry.diagnose.causes import CauseGraph
from telemetry.diagnose.finding import Finding, NotChecked, Outlook, Severity
from telemetry.diagnose.judgement.harm import MIN_STEPS, Harm, Reach
from telemetry.diagnose.judgement.progress import Baseline, Progress
from telemetry.diagnose.wording import guess, guessing_score, number


def outlook(
    reach: Reach,
    progress: Progress,
    levels: Baseline,
    *,
    n_losses: int,
    findings: Sequence[Finding],
    not_checked: Sequence[NotChecked],
    graph: CauseGraph,
) -> Outlook:
    """What to say of a run beside its findings.

    Args:
        reach: How far the whole run came.
        progress: Of the whole run, or why it cannot be told.
        levels: What the loss is compared with.
        n_losses: Steps with a loss.
        findings: Of all rules, in order.
        not_checked: Rules that could not judge.
        graph: What may cause what.
    """
    unable = graph.symptoms | graph.bystanders  # to explain that a run fails
    explained = any(
        finding.severity is not Severity.INFO and finding.detector not in unable
        for finding in findings
    )
    open_question = (reach.fails or reach.harm is Harm.LITTLE) and not explained
    suspects = [f.detector for f in findings if f.detector not in unable]
    unlooked = [e.detector for e in not_checked if not e.absent and e.detector not in unable]
    known = [share for share in (reach.gained, reach.evaluated) if not math.isnan(share)]
    return Outlook(
        grade=reach.harm,
        gained=max(known, default=None),
        text=_text(reach, progress, levels, n_losses, max(known, default=math.nan)),
        suspects=tuple(suspects) if open_question else (),
        unlooked=tuple(unlooked) if open_question else (),
    )


def _text(reach: Reach, progress: Progress, levels: Baseline, n_losses: int, gained: float) -> str:
    if not n_losses or reach.harm is Harm.NONE:
        return ""
    if reach.harm in {Harm.UNMEASURED, Harm.UNKNOWN} and n_losses >= MIN_STEPS:
        return f"it is not known whether it learns: {progress.reason}" if progress.reason else ""
    if n_losses < MIN_STEPS and reach.harm is not Harm.BROKEN:
        return f"undertrained: {n_losses} steps are too few to tell whether it learns"
    if reach.harm is Harm.LITTLE:
        return (
            f"it learns little: {gained:.0%} of what there was to gain over "
            f"{guess(levels)}, and the loss no longer falls"
        )
    if not math.isfinite(progress.end):
        return "the loss is lost"
    score = guessing_score(levels)
    against = score or f"{number(progress.start)} at the start"
    return f"it learns nothing: loss {number(progress.end)}; {against}"
