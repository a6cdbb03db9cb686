"""Weights of linear and convolutional layers are drawn again, and their biases are zero.

From a generator of its own: the random numbers of the script stay what they were.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from telemetry.capture.remedy import Dose, Moment, NotApplicable, Remedy, Treated
from telemetry.errors import UsageError

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
SEED = 0
Draw = Callable[[Tensor, torch.Generator], object]
DRAWS: dict[str, Draw] = {
    "he": lambda weight, generator: nn.init.kaiming_normal_(
        weight, nonlinearity="relu", generator=generator
    ),
    "xavier": lambda weight, generator: nn.init.xavier_normal_(weight, generator=generator),
    "orthogonal": lambda weight, generator: nn.init.orthogonal_(weight, generator=generator),
}


def attach(treated: Treated, dose: Dose) -> None:
    """Draw once, before the first step."""
    layers = [one for one in treated.model.modules() if isinstance(one, LAYERS)]
    if not layers:
        raise NotApplicable("the model has no linear or convolutional layer")
    treated.acts()
    generators: dict[torch.device, torch.Generator] = {}
    with torch.no_grad():
        for layer in layers:
            device = layer.weight.device
            if device not in generators:
                generators[device] = torch.Generator(device)
                generators[device].manual_seed(SEED)
            DRAWS[dose.value](layer.weight, generators[device])
            if layer.bias is not None:
                layer.bias.zero_()


def check(dose: Dose) -> None:
    """One of the three names is needed."""
    if dose.operator != "=" or dose.value not in DRAWS:
        raise UsageError(f"remedy {dose.text!r}: write init=he, init=xavier or init=orthogonal.")


REMEDY = Remedy(
    id="init",
    changes="draws the weights of linear and convolutional layers again",
    doses=("init=he", "init=xavier", "init=orthogonal"),
    treats={
        "poor_initialization": ("init=he", "init=xavier", "init=orthogonal"),
        "vanishing_gradient": ("init=he", "init=orthogonal"),
        "exploding_gradient": ("init=xavier",),
        "saturated_units": ("init=xavier",),
        "dead_units": ("init=he",),
    },
    moment=Moment.FORWARD,
    attach=attach,
    check=check,
)
