"""What hiding parts of an input says beside the fall of the score.

Which answer comes instead, whether several parts stand in for each other, and for a text what
happens when a token is not masked but gone.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from telemetry.explain.attribution.attribution import Changed
from telemetry.explain.attribution.methods import Problem
from telemetry.explain.inputs.padding import Padding

TOP = 3
REDUNDANT = 2.0  # times the sum of the single effects
MATERIAL = 0.1  # of the whole effect of the input, from which a joint effect counts
MOST_OFTEN = 0.5  # of the references, from which a part changes the answer


def changed_answers(
    problem: Problem,
    references: Sequence[Tensor],
    predictions: Callable[[Tensor], Tensor],
    names: Callable[[int], str],
) -> tuple[Changed, ...]:
    """Parts without which the answer is another, and which one, in the order of the input.

    Args:
        problem: The input and its parts.
        references: What a hidden part is replaced by.
        predictions: Classes of inputs, shape (n,).
        names: Of the classes.

    Source: the second map of Zeiler and Fergus 2014, arXiv:1311.2901, figure 7 (e).
    """
    n = len(problem.segments)
    own = int(predictions(problem.values[None])[0])
    kept = ~torch.eye(n, dtype=torch.bool)
    answers = torch.stack(
        [predictions(problem.segments.mixed(kept, problem.values, one)) for one in references]
    )
    found = []
    for segment in range(n):
        others = answers[:, segment][answers[:, segment] != own]
        share = len(others) / len(references)
        if share >= MOST_OFTEN:
            instead = int(others.mode().values)
            name = problem.segments.names[segment]
            found.append(Changed(segment=name, prediction=names(instead), share=share))
    return tuple(found)


def redundant_parts(
    problem: Problem, references: Sequence[Tensor], per_segment: Tensor
) -> tuple[str, ...]:
    """Parts that together do far more than the sum of what each does alone; empty: none.

    Three parts are hidden at once: those that occlusion ranks first, and those that bring the most
    when each is shown alone. Of two causes, either of which suffices, hiding one changes nothing,
    so that occlusion ranks neither; shown alone each brings the answer.

    Args:
        problem: The input and its parts.
        references: What a hidden part is replaced by.
        per_segment: By how much the score falls without each, shape (n_segments,).
    """
    n = len(per_segment)
    everything, nothing = torch.ones(1, n, dtype=torch.bool), torch.zeros(1, n, dtype=torch.bool)
    alone = torch.eye(n, dtype=torch.bool)
    shown = problem.mixed_scores(torch.cat([everything, nothing, alone]), references).mean(1)
    whole = float(shown[0] - shown[1])
    for ranking in (per_segment, shown[2:]):
        parts = ranking.topk(min(TOP, n)).indices
        without = everything.clone()
        without[0, parts] = False
        joint = float(shown[0] - problem.mixed_scores(without, references).mean())
        single = max(float(per_segment[parts].sum()), 0.0)
        if joint > REDUNDANT * single and joint >= MATERIAL * abs(whole):
            return tuple(problem.segments.names[part] for part in parts.tolist())
    return ()


def without_tokens(problem: Problem, padding: Padding) -> Tensor:
    """By how much the score falls where each part of a text is taken out, (n_segments,).

    Args:
        problem: The text and its parts.
        padding: How texts are filled up: what is left is filled up again.

    Raises:
        UsageError: the model cannot be run on a shorter text.
    """
    labels = problem.segments.labels
    rows = [
        padding.without(problem.values, labels == segment)
        for segment in range(len(problem.segments))
    ]
    own = problem.scores(problem.values[None])[0]
    found = torch.zeros(len(rows))
    for length in {len(row) for row in rows} - {0}:
        places = [place for place, row in enumerate(rows) if len(row) == length]
        found[places] = own - problem.scores(torch.stack([rows[place] for place in places]))
    return found
