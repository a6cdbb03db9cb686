"""What is known of the rules of optimizers."""

from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import entry_of, is_switched_on, number_of

ADAM_RULES = frozenset({"Adam", "AdamW"})
DECOUPLED_RULES = frozenset({"AdamW", "Adafactor", "Muon"})


def is_adam_type(optimizer: Optimizer) -> bool:
    """Whether the optimizer keeps a second moment that it divides by, plus epsilon."""
    return all(
        number_of(group, "eps") is not None and entry_of(group, "betas", 1) is not None
        for group in optimizer.param_groups
    )


def implies_update(optimizer: Optimizer) -> bool:
    """Whether the update follows from the two moments as Adam's does; NAdam's does not."""
    is_known = _is_of_torch(optimizer) and type(optimizer).__name__ in ADAM_RULES
    return is_known and is_adam_type(optimizer)


def is_plain_sgd(optimizer: Optimizer) -> bool:
    """Whether the update is -lr times the momentum buffer, or the decayed gradient without one."""
    groups = optimizer.param_groups
    return (
        _is_of_torch(optimizer)
        and type(optimizer).__name__ == "SGD"
        and not any(is_switched_on(g, key) for g in groups for key in ("nesterov", "maximize"))
        and len({is_switched_on(group, "momentum") for group in groups}) == 1
    )


def has_decoupled_decay(optimizer: Optimizer) -> bool | None:
    """Whether weight decay acts apart from the gradient; None where the rule is not known.

    Known are the optimizers of torch: some shrink the weight by lr x decay, the others add
    decay x weight to the gradient.
    """
    if not _is_of_torch(optimizer) or "weight_decay" not in optimizer.defaults:
        return None
    told = bool(optimizer.defaults.get("decoupled_weight_decay", False))
    return told or type(optimizer).__name__ in DECOUPLED_RULES


def _is_of_torch(optimizer: Optimizer) -> bool:
    return type(optimizer).__module__.split(".")[:2] == ["torch", "optim"]
