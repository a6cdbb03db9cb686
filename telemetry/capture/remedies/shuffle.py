"""Training batches are drawn in random order where a loader goes through its data in order."""

from collections.abc import Iterator
from typing import cast

import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from telemetry.capture.remedy import Dose, Function, Moment, Remedy, Treated

SEED = 0
Begin = Function[Iterator[object]]


def attach(treated: Treated, _dose: Dose) -> None:
    """Begin each pass through such a loader with another sampler; one that evaluates stays."""
    generator = torch.Generator()
    generator.manual_seed(SEED)

    def make(original: Begin) -> Begin:
        def begin(*loaders: object, **_: object) -> Iterator[object]:
            (loader,) = cast("tuple[DataLoader[object]]", loaders)
            former = loader.batch_sampler
            is_plain = type(former) is BatchSampler
            in_order = is_plain and isinstance(loader.sampler, SequentialSampler)
            if not in_order or not torch.is_grad_enabled():
                return original(loader)
            treated.acts()
            sampler = RandomSampler(loader.dataset, generator=generator)  # type: ignore[arg-type]
            known = cast("BatchSampler", former)
            other = BatchSampler(sampler, known.batch_size, known.drop_last)
            vars(loader)["batch_sampler"] = other  # by assignment the loader refuses it
            try:
                return original(loader)
            finally:
                vars(loader)["batch_sampler"] = former

        return begin

    treated.stand_in(DataLoader, "__iter__", make)


REMEDY = Remedy(
    id="shuffle",
    changes="shuffles the training data of loaders that do not",
    restores=True,
    doses=("shuffle",),
    treats={"repeated_batch": ("shuffle",)},
    moment=Moment.FORWARD,
    attach=attach,
    same_loss=False,
    early=True,
)
