"""Sum, minimum, maximum, largest magnitude and exact zeros of the sampled finite elements."""

import torch
from torch import Tensor

from telemetry.capture.statistic import Kind, ParameterStatistic, Sample


def compute(sample: Sample) -> Tensor:
    """Columns sum, min, max, absmax, n_zero; all but n_zero NaN where no element is finite."""
    segments = sample.segments
    low, high = sample.bounds
    n_zero = sample.n_zero_with_padding - sample.n_invalid
    values = torch.stack([segments.total(sample.row_sums), low, high, torch.maximum(-low, high)])
    values.masked_fill_(torch.gt(low, high), torch.nan)
    return torch.cat([values, n_zero.unsqueeze(0)]).float()


STATISTIC = ParameterStatistic(
    id="moments",
    kinds=frozenset(Kind),
    columns=("sum", "min", "max", "absmax", "n_zero"),
    compute=compute,
)
