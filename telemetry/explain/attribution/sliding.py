"""Occlusion by a window that slides: a finer picture than cells side by side give.

Overlapping windows smear evidence over their neighbours, so that nothing is ranked by them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from telemetry.explain.attribution.methods import Problem


def sliding_occlusion(problem: Problem, references: Sequence[Tensor]) -> Tensor:
    """By how much the score falls where a window hides an element, per element of the window.

    The window is the first cell of the grid and moves by half of itself; at the border it is
    moved back into the image and never cut. Each element is given the mean over the windows that
    hide it, each divided by the elements that it hides.

    Args:
        problem: An image whose parts are the cells of a grid.
        references: What the hidden window is replaced by; the mean over them counts.

    Returns:
        Shape of the input.

    Source: Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2.
    """
    n_channels, height, width = problem.values.shape
    _, _, window_y, window_x = problem.segments.boxes[0]
    tops, lefts = starts(height, window_y), starts(width, window_x)
    hidden = torch.zeros(len(tops) * len(lefts), height, width, dtype=torch.bool)
    for place, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        hidden[place, top : top + window_y, left : left + window_x] = True
    own = problem.scores(problem.values[None])
    falls = torch.stack([own - _hidden(problem, hidden, one) for one in references]).mean(0)
    spread = (falls[:, None, None] * hidden).sum(0) / hidden.sum(0).clamp_min(1)
    return (spread / (n_channels * window_y * window_x)).expand_as(problem.values).contiguous()


def starts(length: int, window: int) -> list[int]:
    """First positions of windows that overlap by half; the last window ends at the end."""
    step = max(1, window // 2)
    return sorted({*range(0, length - window, step), length - window})


def _hidden(problem: Problem, hidden: Tensor, reference: Tensor) -> Tensor:
    """Scores with each window replaced, shape (n_windows,)."""
    parts = torch.split(hidden, problem.batch)
    return torch.cat(
        [problem.scores(torch.where(part[:, None], reference, problem.values)) for part in parts]
    )
