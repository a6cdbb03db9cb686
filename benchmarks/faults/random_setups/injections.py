"""Faults that can be planted in any random set-up they apply to, most of them at any step."""

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from random_setups.setups import Setup
from random_setups.training import Running

EARLIEST, LATEST = 0.1, 0.6  # share of the steps within which a fault begins
HIDDEN = (nn.Linear, nn.Conv2d)

Applies = Callable[[Setup], bool]
Plant = Callable[[Running, random.Random], None]


@dataclass(frozen=True, kw_only=True)
class Injection:
    """One fault.

    Attributes:
        name: Of the fault.
        roots: Accepted root causes.
        applies: To which set-ups.
        plant: Changes a training on its way.
        at_start: It is there from the first step, or begins at a random one.
        always_wrong: A fault even where the score does not suffer.
    """

    name: str
    roots: tuple[str, ...]
    applies: Applies
    plant: Plant
    at_start: bool
    always_wrong: bool


INJECTIONS: dict[str, Injection] = {}


def _everywhere(setup: Setup) -> bool:
    del setup
    return True


def injection(
    *roots: str, applies: Applies = _everywhere, at_start: bool, always_wrong: bool = False
) -> Callable[[Plant], Plant]:
    """Register a fault under its function's name."""

    def register(plant: Plant) -> Plant:
        INJECTIONS[plant.__name__] = Injection(
            name=plant.__name__,
            roots=roots,
            applies=applies,
            plant=plant,
            at_start=at_start,
            always_wrong=always_wrong,
        )
        return plant

    return register


def _is_adam(setup: Setup) -> bool:
    return "eps" in setup.optimizer.param_groups[0] and "Ada" in type(setup.optimizer).__name__


def _classifies(setup: Setup) -> bool:
    return setup.task.classes


def has_numbers(setup: Setup) -> bool:
    """Inputs that can be scaled: neither tokens nor one-hot rows."""
    x = setup.task.data.x
    return x.is_floating_point() and not bool(((x == 0) | (x == 1)).all())


def has_norm(setup: Setup) -> bool:
    """A layer that undoes the scale of what it is given."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)
    return any(isinstance(module, kinds) for module in setup.model.modules())


def _has_modes(setup: Setup) -> bool:
    return any(
        isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        or (isinstance(module, nn.Dropout) and module.p > 0)
        for module in setup.model.modules()
    )


def _hidden(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Linear and convolution layers but the last, by path."""
    found = [(path, m) for path, m in model.named_modules() if isinstance(m, HIDDEN)]
    return found[:-1]


def _rectified(model: nn.Module) -> list[str]:
    """Paths of hidden layers whose outputs go straight into a ReLU, in a Sequential."""
    named = list(model.named_modules())
    return [
        path
        for (path, layer), (_, after) in itertools.pairwise(named)
        if isinstance(layer, nn.Linear) and isinstance(after, nn.ReLU)
    ]


def _scaled_rate(running: Running, factor: float) -> None:
    """Every learning rate times a factor, and those that a scheduler starts from."""
    for group in running.optimizer.param_groups:
        for key in ("lr", "initial_lr", "max_lr", "min_lr"):
            if key in group:
                group[key] *= factor
    if running.scheduler is not None and hasattr(running.scheduler, "base_lrs"):
        running.scheduler.base_lrs = [rate * factor for rate in running.scheduler.base_lrs]


@injection("learning_rate_too_high", at_start=True)
def rate_far_too_high(running: Running, choose: random.Random) -> None:
    """A rate 100 to 1,000 times that which works."""
    _scaled_rate(running, 10 ** choose.uniform(2, 3))


@injection("learning_rate_too_low", at_start=True)
def rate_far_too_low(running: Running, choose: random.Random) -> None:
    """A rate 1,000 to 100,000 times below that which works."""
    _scaled_rate(running, 10 ** -choose.uniform(3, 5))


@injection("schedule", "learning_rate_too_high", at_start=False)
def rate_jumps(running: Running, choose: random.Random) -> None:
    """A schedule that multiplies the rate by 100 to 1,000."""
    _scaled_rate(running, 10 ** choose.uniform(2, 3))


@injection("schedule", "learning_rate_too_low", at_start=False)
def rate_collapses(running: Running, choose: random.Random) -> None:
    """A schedule that ends too early."""
    _scaled_rate(running, 10 ** -choose.uniform(3, 6))


@injection("gradients_not_cleared", at_start=False, always_wrong=True)
def forgets_to_clear(running: Running, choose: random.Random) -> None:
    """No zero_grad from some step on."""
    del choose
    running.clears = False


@injection("gradient_ascent", at_start=False)
def climbs(running: Running, choose: random.Random) -> None:
    """The sign of the loss is wrong from some step on."""
    del choose
    running.minimised = lambda loss: -loss


@injection("non_finite", at_start=False)
def batch_with_nan(running: Running, choose: random.Random) -> None:
    """One sample of a batch holds a NaN; token inputs have their loss divided by zero."""
    del choose
    if not running.setup.task.data.x.is_floating_point():
        running.minimised = lambda loss: loss * (loss.detach() - loss.detach()).log()
        return

    def spoilt(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone()
        x[0].view(-1)[0] = torch.nan
        return x, y

    running.batch_of = spoilt


@injection("non_finite", at_start=False)
def loss_of_a_root(running: Running, choose: random.Random) -> None:
    """A penalty whose derivative at zero is infinite: sqrt(0) times 0."""
    del choose
    running.minimised = lambda loss: loss + (loss - loss.detach()).abs().sqrt()


@injection("unchanged_parameters", at_start=True)
def half_in_no_optimizer(running: Running, choose: random.Random) -> None:
    """The optimizer was given the first or the last half of the parameters."""
    # Muon trains matrices alone.
    parameters = [one for one in running.model.parameters() if one.requires_grad]
    cut = len(parameters) // 2
    kept = parameters[:cut] if choose.random() < 0.5 else parameters[cut:]
    group = {
        key: value for key, value in running.optimizer.param_groups[0].items() if key != "params"
    }
    running.optimizer = type(running.optimizer)([{**group, "params": kept}])  # type: ignore[call-arg]
    running.scheduler = None


@injection("unchanged_parameters", applies=lambda s: bool(_hidden(s.model)), at_start=True)
def detached(running: Running, choose: random.Random) -> None:
    """What a hidden layer gives is detached: nothing before it learns."""
    hidden = _hidden(running.model)
    _, layer = hidden[len(hidden) // 2]
    del choose
    layer.register_forward_hook(lambda _module, _inputs, output: output.detach())


@injection(
    "poor_initialization",
    "exploding_gradient",
    applies=lambda s: not has_norm(s),
    at_start=True,
)
def large_weights(running: Running, choose: random.Random) -> None:
    """Weights 16 to 64 times as large as drawn."""
    _scaled_weights(running.model, 2 ** choose.uniform(4, 6))


@injection(
    "poor_initialization",
    "vanishing_gradient",
    applies=lambda s: not has_norm(s) and len(_hidden(s.model)) > 1,
    at_start=True,
)
def small_weights(running: Running, choose: random.Random) -> None:
    """Weights 16 to 64 times as small as drawn."""
    _scaled_weights(running.model, 2 ** -choose.uniform(4, 6))


def _scaled_weights(model: nn.Module, factor: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(factor)


@injection("dead_units", applies=lambda s: bool(_rectified(s.model)), at_start=False)
def killed_units(running: Running, choose: random.Random) -> None:
    """Biases of a layer before a ReLU fall to -100."""
    path = choose.choice(_rectified(running.model))
    running.layers = (path, _next_path(running.model, path))
    bias = running.model.get_submodule(path).bias
    with torch.no_grad():
        bias.fill_(-100.0)  # type: ignore[operator]


def _next_path(model: nn.Module, path: str) -> str:
    names = [name for name, _ in model.named_modules()]
    return names[names.index(path) + 1]


@injection("repeated_batch", "overfitting", at_start=False)
def same_batch_again(running: Running, choose: random.Random) -> None:
    """The loader gives one batch for ever."""
    del choose
    kept: list[tuple[Tensor, Tensor]] = []

    def first(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        kept.append((x, y))
        return kept[0]

    running.batch_of = first


@injection("train_eval_mode", applies=_has_modes, at_start=False, always_wrong=True)
def stays_in_evaluation(running: Running, choose: random.Random) -> None:
    """The model is not put back into training after an evaluation."""
    del choose
    running.trains_again = False


@injection("over_regularized", at_start=False)
def crushing_decay(running: Running, choose: random.Random) -> None:
    """Weight decay that takes 2 to 10 % of the weights in a step."""
    share = choose.uniform(0.02, 0.1)
    for group in running.optimizer.param_groups:
        group["weight_decay"] = share / max(group["lr"], 1e-12)


@injection("softmax_into_cross_entropy", applies=_classifies, at_start=True)
def softmax_twice(running: Running, choose: random.Random) -> None:
    """Probabilities where logits belong."""
    del choose
    running.outputs = lambda out: functional.softmax(out, -1)


@injection("loss_not_decreasing", "label_noise", "overfitting", applies=_classifies, at_start=True)
def targets_of_other_samples(running: Running, choose: random.Random) -> None:
    """Each input has the target of some other one."""
    del choose
    targets = running.setup.task.data.y
    running.batch_of = lambda x, y: (x, targets[torch.randperm(len(targets))[: len(y)]])


@injection("input_scale", applies=lambda s: has_numbers(s) and not has_norm(s), at_start=True)
def inputs_not_scaled(running: Running, choose: random.Random) -> None:
    """Inputs 255 to 5,000 times as large as standardised ones, in training and evaluation."""
    factor = choose.uniform(255, 5000)
    running.model.register_forward_pre_hook(lambda _module, inputs: (inputs[0] * factor,))


@injection("loss_multiplier", applies=lambda s: s.accumulate > 1, at_start=True)
def not_divided(running: Running, choose: random.Random) -> None:
    """Accumulated gradients are summed, not averaged."""
    del choose
    running.divides = False


@injection("epsilon_domination", applies=_is_adam, at_start=True)
def large_epsilon(running: Running, choose: random.Random) -> None:
    """An epsilon of Adam 10 to 1,000 times the gradient."""
    for group in running.optimizer.param_groups:
        group["eps"] = 10 ** choose.uniform(0, 2)


@injection("low_precision_updates", applies=lambda s: not s.autocast, at_start=True)
def half_precision_weights(running: Running, choose: random.Random) -> None:
    """Weights in bfloat16 and a rate whose steps are below half their spacing."""
    running.model.bfloat16()
    running.model.register_forward_pre_hook(
        lambda _module, inputs: tuple(
            value.bfloat16() if value.is_floating_point() else value for value in inputs
        )
    )
    _scaled_rate(running, 10 ** -choose.uniform(1.5, 2.5))


def drawn_injection(
    setup: Setup, seed: int, among: Mapping[str, Injection] = INJECTIONS
) -> tuple[Injection, int, random.Random]:
    """A fault that applies to a set-up, the step at which it begins, and its random numbers."""
    choose = random.Random(f"fault {seed}")  # noqa: S311 - no secret
    fitting = [entry for entry in among.values() if entry.applies(setup)]
    chosen = choose.choice(sorted(fitting, key=lambda entry: entry.name))
    at = 0 if chosen.at_start else int(choose.uniform(EARLIEST, LATEST) * setup.steps)
    return chosen, at, choose
