"""`model.train()` before each forward with gradient, `model.eval()` before each without."""

import torch
from torch import nn

from telemetry.capture.remedy import Dose, Moment, Remedy, Treated


def attach(treated: Treated, _dose: Dose) -> None:
    """Set the mode where a part of the model has another."""

    def set_mode(module: nn.Module, _arguments: object) -> None:
        trains = torch.is_grad_enabled()
        if any(part.training is not trains for part in module.modules()):
            treated.acts()
            module.train(trains)

    treated.before_forward(set_mode)


REMEDY = Remedy(
    id="modes",
    changes="calls train() before training forwards and eval() before evaluations",
    restores=True,
    doses=("modes",),
    treats={"train_eval_mode": ("modes",)},
    moment=Moment.FORWARD,
    attach=attach,
    same_loss=False,
)
