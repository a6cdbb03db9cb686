"""Faults of heads, losses, data and layers, for the short set-ups; all are there from the start."""

import random
from collections.abc import Callable
from dataclasses import replace

import torch
from material import LanguageModel
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import ReduceLROnPlateau

from random_setups.injections import INJECTIONS, Applies, Injection, Plant, has_norm, has_numbers
from random_setups.own_losses import VALUE_LOSSES, YES_LOSSES
from random_setups.setups import Setup
from random_setups.training import Running

MORE_INJECTIONS: dict[str, Injection] = {}
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU)
STUCK = (
    "unchanged_parameters", "vanishing_gradient", "representation_collapse", "class_collapse",
    "saturated_units",
)  # fmt: skip
ZERO = ("zero_gradients", "unchanged_parameters", "vanishing_gradient", "loss_multiplier")
SHARE_OF_THESE = 0.75


def more(*roots: str, applies: Applies, always_wrong: bool = False) -> Callable[[Plant], Plant]:
    """Register a fault under its function's name."""

    def register(plant: Plant) -> Plant:
        MORE_INJECTIONS[plant.__name__] = Injection(
            name=plant.__name__,
            roots=roots,
            applies=applies,
            plant=plant,
            at_start=True,
            always_wrong=always_wrong,
        )
        return plant

    return register


def any_injection(name: str) -> Injection:
    """Of those for all set-ups, or of these."""
    return {**INJECTIONS, **MORE_INJECTIONS}[name]


def short_injections(setup: Setup, seed: int) -> dict[str, Injection]:
    """For three set-ups of four these, where one applies, and for the others those for all."""
    chance = random.Random(f"kind {seed}").random()  # noqa: S311 - no secret
    fits = any(entry.applies(setup) for entry in MORE_INJECTIONS.values())
    return MORE_INJECTIONS if chance < SHARE_OF_THESE and fits else INJECTIONS


# --- to what they apply ---------------------------------------------------------------------------


def _is_value(setup: Setup) -> bool:
    return setup.task.loss_of in VALUE_LOSSES


def _is_yes(setup: Setup) -> bool:
    return setup.task.loss_of in YES_LOSSES


def _has_one_output(setup: Setup) -> bool:
    return _is_value(setup) or _is_yes(setup)


def _has_labels(setup: Setup) -> bool:
    """One class index for each example."""
    return setup.task.classes and setup.task.data.y.ndim == 1


def _is_table(setup: Setup) -> bool:
    data = setup.task.data
    return data.x.ndim == 2 and data.x.is_floating_point() and not _is_contrastive(setup)


def _is_contrastive(setup: Setup) -> bool:
    return setup.words.startswith("views")


def _is_variational(setup: Setup) -> bool:
    return setup.words.startswith("variational")


def _is_recurrent(setup: Setup) -> bool:
    return bool(_layers(setup.model, nn.RNNBase))


def _has_batch_norm(setup: Setup) -> bool:
    return bool(_layers(setup.model, nn.BatchNorm1d | nn.BatchNorm2d))


def _has_dropout(setup: Setup) -> bool:
    return any(m.p > 0 for m in _layers(setup.model, nn.Dropout) if isinstance(m, nn.Dropout))


def _has_modes(setup: Setup) -> bool:
    return _has_batch_norm(setup) or _has_dropout(setup)


def _is_sequential(setup: Setup) -> bool:
    return isinstance(setup.model, nn.Sequential) and bool(_layers(setup.model, ACTIVATIONS))


Kind = type[nn.Module] | tuple[type[nn.Module], ...]


def _layers(model: nn.Module, kind: Kind) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, kind)]


def _change(running: Running, **data: Tensor) -> None:
    """Other data from now on."""
    task = running.setup.task
    changed = replace(task, data=replace(task.data, **data))
    running.setup = replace(running.setup, task=changed)


# --- heads ----------------------------------------------------------------------------------------


@more("output_head", "constant_predictor", *STUCK, applies=_has_one_output)
def softmax_over_one_unit(running: Running, choose: random.Random) -> None:
    """The output is always one."""
    del choose
    running.outputs = lambda out: functional.softmax(out, -1)


@more("output_head", *STUCK, "dead_units", applies=_is_value)
def relu_head(running: Running, choose: random.Random) -> None:
    """Half of the targets lie below zero."""
    del choose
    running.outputs = functional.relu


def _larger_targets(running: Running, factor: float) -> None:
    data = running.setup.task.data
    _change(running, y=data.y * factor, val_y=data.val_y * factor)


@more("output_head", *STUCK, "input_scale", applies=_is_value)
def sigmoid_head(running: Running, choose: random.Random) -> None:
    """Zero to one for targets of minus to plus some twenty."""
    _larger_targets(running, choose.uniform(5, 20))
    running.outputs = torch.sigmoid


@more("output_head", *STUCK, "input_scale", applies=_is_value)
def tanh_head(running: Running, choose: random.Random) -> None:
    """Minus one to one for targets of minus to plus some twenty."""
    _larger_targets(running, choose.uniform(5, 20))
    running.outputs = torch.tanh


@more(
    *("constant_predictor", "zero_gradients", "dead_units", *STUCK),
    applies=lambda s: _is_table(s) and _is_sequential(s),
)
def constant_predictor(running: Running, choose: random.Random) -> None:
    """What the last layer sees is multiplied by zero."""
    del choose
    head = [m for m in running.model.modules() if isinstance(m, nn.Linear)][-1]
    head.register_forward_pre_hook(lambda _module, inputs: (inputs[0] * 0,))


# --- losses and targets ---------------------------------------------------------------------------


@more("target_mismatch", "output_head", applies=lambda s: _is_value(s) and s.batch > 1)
def shapes_broadcast(running: Running, choose: random.Random) -> None:
    """Targets of shape (n) against outputs of shape (n, 1)."""
    del choose
    running.batch_of = lambda x, y: (x, y.flatten())


@more(
    *("target_mismatch", "output_logits", "weight_norm_growth", "class_collapse"), applies=_is_yes
)
def indices_to_a_binary_loss(running: Running, choose: random.Random) -> None:
    """Labels of one and two, where zero and one belong."""
    del choose
    _change(running, y=running.setup.task.data.y + 1)


@more("target_mismatch", "class_collapse", "loss_not_decreasing", applies=_has_labels)
def one_hot_to_an_index_loss(running: Running, choose: random.Random) -> None:
    """The first column of one-hot labels is taken for the index."""
    del choose
    _change(running, y=(running.setup.task.data.y == 0).long())


@more("target_mismatch", "class_collapse", "representation_collapse", applies=_has_labels)
def all_labels_equal(running: Running, choose: random.Random) -> None:
    """Labels were divided by something that they are smaller than."""
    del choose
    _change(running, y=torch.zeros_like(running.setup.task.data.y))


@more(*ZERO, applies=lambda _: True)
def gradients_of_zero(running: Running, choose: random.Random) -> None:
    """A weight of the loss that is zero."""
    del choose
    running.minimised = lambda loss: 0.0 * loss


@more(
    *("loss_multiplier", "epsilon_domination", "learning_rate_too_low", "vanishing_gradient"),
    applies=lambda _: True,
)
def loss_scaled_away(running: Running, choose: random.Random) -> None:
    """A mean over far too much."""
    factor = 10 ** -choose.uniform(6, 10)
    running.minimised = lambda loss: factor * loss


@more("representation_collapse", "over_regularized", applies=_is_variational)
def divergence_outweighs(running: Running, choose: random.Random) -> None:
    """The divergence counts 30 to 100 times."""
    weight = choose.uniform(30, 100)
    task = running.setup.task

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        mean, log_var = out[:, 64:].chunk(2, -1)
        apart = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1).mean()
        return task.loss_of(out, target, reduction) + weight * apart

    running.setup = replace(running.setup, task=replace(task, loss_of=loss_of))


@more("representation_collapse", applies=_is_contrastive)
def without_negatives(running: Running, choose: random.Random) -> None:
    """Two views of the same have to agree, and nothing has to differ."""
    del choose
    task = running.setup.task

    def loss_of(out: Tensor, target: Tensor, reduction: str) -> Tensor:
        del target, reduction
        first, second = functional.normalize(out, dim=-1).unbind(1)
        return 1 - (first * second).sum(-1).mean()

    running.setup = replace(running.setup, task=replace(task, loss_of=loss_of))


# --- data -----------------------------------------------------------------------------------------


@more(
    *("validation_mismatch", "label_noise", "overfitting"), applies=_has_labels, always_wrong=True
)
def validation_labels_shuffled(running: Running, choose: random.Random) -> None:
    """Labels of other examples, for the validation only."""
    del choose
    val_y = running.setup.task.data.val_y
    _change(running, val_y=val_y[torch.randperm(len(val_y))])


@more("leakage", applies=lambda s: _is_table(s) and _has_one_output(s), always_wrong=True)
def label_in_a_feature(running: Running, choose: random.Random) -> None:
    """The first column is the target."""
    del choose
    data = running.setup.task.data
    parts = ((data.x, data.y), (data.val_x, data.val_y))
    x, val_x = (torch.cat([y, x[:, 1:]], 1) for x, y in parts)
    _change(running, x=x, val_x=val_x)


@more("sorted_labels", "class_collapse", "loss_spike", applies=_has_labels)
def sorted_by_class(running: Running, choose: random.Random) -> None:
    """One class after another, in the same order in each epoch."""
    del choose
    data = running.setup.task.data
    order = data.y.argsort(stable=True)
    _change(running, x=data.x[order], y=data.y[order])
    running.setup = replace(running.setup, shuffles=False)


@more("input_scale", applies=lambda s: _is_table(s) and not has_norm(s))
def not_centred(running: Running, choose: random.Random) -> None:
    """All inputs have a mean of 50 to 500 deviations."""
    shift = choose.uniform(50, 500)
    data = running.setup.task.data
    _change(running, x=data.x + shift, val_x=data.val_x + shift)


@more("input_scale", applies=lambda s: _is_table(s) and not has_norm(s))
def scales_apart(running: Running, choose: random.Random) -> None:
    """Columns whose deviations differ by 10^3 and more."""
    data = running.setup.task.data
    scale = torch.logspace(0, choose.uniform(3, 4), data.x.shape[1])
    _change(running, x=data.x * scale, val_x=data.val_x * scale)


@more(
    *("validation_mismatch", "input_scale"),
    applies=lambda s: _has_batch_norm(s) and has_numbers(s),
)
def statistics_of_another_distribution(running: Running, choose: random.Random) -> None:
    """The validation set is scaled otherwise, which BatchNorm does not know."""
    factor, shift = choose.uniform(6, 20), choose.uniform(1, 3)
    _change(running, val_x=running.setup.task.data.val_x * factor + shift)


# --- layers, modes, schedule ----------------------------------------------------------------------


@more("train_eval_mode", applies=_has_modes, always_wrong=True)
def evaluated_in_training(running: Running, choose: random.Random) -> None:
    """No eval() before an evaluation."""
    del choose
    running.evaluates_in_eval = False


@more("schedule", "learning_rate_too_low", applies=lambda s: s.scheduler is None)
def plateau_in_the_wrong_mode(running: Running, choose: random.Random) -> None:
    """The rate falls while the loss improves."""
    patience = choose.choice((0, 1))
    running.scheduler = ReduceLROnPlateau(running.optimizer, "max", patience=patience)


def _recurrent_weights(running: Running, factor: float) -> None:
    for layer in _layers(running.model, nn.RNNBase):
        for name, parameter in layer.named_parameters():
            if name.startswith("weight_hh"):
                parameter.data.mul_(factor)


@more("vanishing_through_time", "poor_initialization", "vanishing_gradient", applies=_is_recurrent)
def state_that_forgets(running: Running, choose: random.Random) -> None:
    """What was seen a step ago is nearly gone."""
    _recurrent_weights(running, choose.uniform(0.0, 0.02))


@more(
    *("exploding_gradient", "poor_initialization", "saturated_units", "vanishing_through_time"),
    applies=_is_recurrent,
)
def state_that_explodes(running: Running, choose: random.Random) -> None:
    """Recurrent weights 10 to 40 times as large as drawn."""
    _recurrent_weights(running, choose.uniform(10, 40))


@more("over_regularized", applies=_has_dropout)
def dropout_of_nine_tenths(running: Running, choose: random.Random) -> None:
    """The probability to keep, given as that to drop."""
    p = choose.uniform(0.85, 0.97)
    for module in running.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = p


@more("runs_over_batch", applies=lambda s: _is_recurrent(s) and s.batch > 1)
def wrong_axis_order(running: Running, choose: random.Random) -> None:
    """Batch for time."""
    del choose
    for layer in _layers(running.model, nn.RNNBase):
        layer.batch_first = not layer.batch_first  # type: ignore[assignment, operator]


class _SeesAll(nn.Module):
    """A block that is given no mask."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, src_mask: Tensor) -> Tensor:
        del src_mask
        out: Tensor = self.block(x)
        return out


@more(
    *("missing_causal_mask", "leakage"),
    applies=lambda s: isinstance(s.model, LanguageModel),
    always_wrong=True,
)
def causal_mask_missing(running: Running, choose: random.Random) -> None:
    """Each place sees the next word."""
    del choose
    blocks = running.model.blocks
    if isinstance(blocks, nn.ModuleList):
        for index, block in enumerate(blocks):
            blocks[index] = _SeesAll(block)


@more("missing_nonlinearity", applies=_is_sequential)
def no_nonlinearity(running: Running, choose: random.Random) -> None:
    """Layers that are one."""
    del choose
    if isinstance(running.model, nn.Sequential):
        for index, module in enumerate(running.model):
            if isinstance(module, ACTIVATIONS):
                running.model[index] = nn.Identity()
