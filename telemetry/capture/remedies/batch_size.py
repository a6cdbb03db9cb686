"""Larger or smaller training batches, of loaders that make batches themselves."""

from collections.abc import Iterator
from typing import cast

import torch
from torch.utils.data import BatchSampler, DataLoader

from telemetry.capture.remedy import Dose, Function, Moment, Remedy, Treated

Begin = Function[Iterator[object]]


def attach(treated: Treated, dose: Dose) -> None:
    """Begin each pass through a loader with batches of another size; one that evaluates stays."""
    factor = dose.factor()

    def make(original: Begin) -> Begin:
        def begin(*loaders: object, **_: object) -> Iterator[object]:
            (loader,) = cast("tuple[DataLoader[object]]", loaders)
            former = loader.batch_sampler
            if type(former) is not BatchSampler or not torch.is_grad_enabled():
                return original(loader)
            size = max(1, round(former.batch_size * factor))
            if size == former.batch_size:
                return original(loader)
            treated.acts()
            other = BatchSampler(former.sampler, size, former.drop_last)
            vars(loader)["batch_sampler"] = other  # by assignment the loader refuses it
            try:
                return original(loader)
            finally:
                vars(loader)["batch_sampler"] = former

        return begin

    treated.stand_in(DataLoader, "__iter__", make)


REMEDY = Remedy(
    id="batch-size",
    changes="multiplies or divides the batch size of the training loaders",
    doses=("batch-size*4",),
    treats={"gradient_noise_scale": ("batch-size*4",)},
    moment=Moment.FORWARD,
    attach=attach,
    check=Dose.factor,
    early=True,
)
