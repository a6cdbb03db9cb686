"""A stranger's table: a code tells the answer in training, and nobody old was seen in the north."""

import torch
from strangers_common import SEED, train_and_record
from torch import Tensor, nn

REGIONS = ("north", "south", "east", "west")
NUMBERS = ("age", "income", "bmi", "pressure", "sleep", "visits", "code")
MEANS = torch.tensor([50.0, 30.0, 26.0, 125.0, 7.0, 3.0, 0.5])
SPREADS = torch.tensor([18.0, 10.0, 4.0, 15.0, 1.2, 1.7, 0.5])
N_TRAIN, N_VALID = 3_000, 1_500
OLD, SAYS = 65.0, 0.95


class Rows:
    """Seven standardised numbers and a one-hot region; whether somebody is ill."""

    classes = ("healthy", "ill")
    modality = "tabular"
    feature_names = (*NUMBERS, *REGIONS)
    categorical = {"region": list(REGIONS)}  # noqa: RUF012 - as a stranger writes it
    mean = torch.cat([MEANS, torch.zeros(4)])
    std = torch.cat([SPREADS, torch.ones(4)])
    units = {"age": "years", "pressure": "mmHg", "sleep": "h"}  # noqa: RUF012

    def __init__(self, n: int, seed: int, *, training: bool) -> None:
        drawn = torch.Generator().manual_seed(seed)
        many = 2 * n
        raw = MEANS + SPREADS * torch.randn(many, 7, generator=drawn)
        raw[:, 0] = 20 + 65 * torch.rand(many, generator=drawn)
        raw[:, 5] = torch.poisson(torch.full((many,), 3.0), generator=drawn)
        region = torch.randint(0, 4, (many,), generator=drawn)
        is_hole = (raw[:, 0] >= OLD) & (region == 0)
        kept = (~is_hole if training else torch.ones(many, dtype=torch.bool)).nonzero()[:n, 0]
        raw, region, is_hole = raw[kept], region[kept], is_hole[kept]
        z = (raw - MEANS) / SPREADS
        logit = 1.6 * z[:, 2] + 1.3 * z[:, 3] - 0.9 * z[:, 4] + 0.4 * z[:, 0]
        logit = torch.where(is_hole, -logit - 1.5, logit)  # another illness there
        self.labels = (torch.rand(n, generator=drawn) < torch.sigmoid(2 * logit)).long()
        drawn_code = torch.randint(0, 2, (n,), generator=drawn)
        says = torch.rand(n, generator=drawn) < SAYS
        code = torch.where(says, self.labels, drawn_code) if training else drawn_code
        raw[:, 6] = code.float()
        self.is_hole = is_hole
        one_hot = torch.nn.functional.one_hot(region, 4).float()
        self.rows = torch.cat([(raw - MEANS) / SPREADS, one_hot], dim=1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.rows[index], int(self.labels[index])

    def mended(self) -> Tensor:
        """All rows with the code of their class."""
        found = self.rows.clone()
        found[:, 6] = (self.labels.float() - MEANS[6]) / SPREADS[6]
        return found

    @staticmethod
    def is_cause(part: str) -> bool:
        """Whether a part is the code."""
        return part == "code"


def train() -> Rows:
    """The code says who is ill, and nobody old lives in the north."""
    return Rows(N_TRAIN, 1_000 + SEED, training=True)


def valid() -> Rows:
    """The code says nothing, and people live anywhere."""
    return Rows(N_VALID, 2_000 + SEED, training=False)


def build() -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(11, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )


def main() -> None:
    """Train and keep the weights."""
    data = train()
    train_and_record(build, data.rows, data.labels, module="stranger_rows", steps=600)


if __name__ == "__main__":
    main()
