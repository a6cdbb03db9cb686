"""Each remedy against the training that it is to bring about: a fault and its remedy are no fault.

Real loops of torch; where the arithmetic is the same, the losses are equal bit for bit.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adafactor, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

from telemetry.capture.remedy import Dose, Moment, NotApplicable, Remedy
from telemetry.capture.treatment.known import all_remedies, remedy_of
from telemetry.capture.treatment.treated import Treatment
from telemetry.errors import UsageError

N_STEPS = 12
Build = Callable[[nn.Module], Optimizer]


def _model(*, dropout: float = 0.0, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    middle: list[nn.Module] = [nn.BatchNorm1d(8)] if norm else []
    return nn.Sequential(nn.Linear(4, 8), *middle, nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A training loop with what can be wrong with it."""

    build: Build = field(default=lambda model: SGD(model.parameters(), lr=0.1))
    model: Callable[[], nn.Sequential] = _model
    schedule: Callable[[Optimizer], object] = lambda _: None
    clears: bool = True
    clips: float | None = None
    n_steps_each: int = 1
    n_micro: int = 1
    divided_by: int = 1
    trains: bool = True
    low: bool = False
    prepare: Callable[[nn.Module], None] = lambda _: None

    def losses(self, treatment: Treatment | None = None) -> list[float]:
        """The loss of each step."""
        model = self.model()
        self.prepare(model)
        optimizer = self.build(model)
        schedule = self.schedule(optimizer)
        model.train(self.trains)
        if treatment is not None:
            treatment.join(model, [optimizer], None)
        torch.manual_seed(1)
        found = [self._step(model, optimizer, schedule) for _ in range(N_STEPS)]
        if treatment is not None:
            treatment.leave()
        return found

    def _step(self, model: nn.Module, optimizer: Optimizer, schedule: object) -> float:
        if self.clears:
            optimizer.zero_grad()
        total = 0.0
        for _ in range(self.n_micro):
            inputs = torch.randn(16, 4)
            with torch.autocast("cpu", torch.bfloat16) if self.low else nullcontext():
                loss = functional.cross_entropy(model(inputs), inputs[:, :3].argmax(1))
            (loss / self.divided_by).backward()
            total += float(loss.detach())
        if self.clips is not None:
            nn.utils.clip_grad_norm_(model.parameters(), self.clips)
        for _ in range(self.n_steps_each):
            optimizer.step()
        if schedule is not None:
            schedule.step()  # type: ignore[attr-defined]
        return total


def _sgd(**settings: object) -> Build:
    return lambda model: SGD(model.parameters(), **{"lr": 0.1, **settings})  # type: ignore[arg-type]


def _adam(**settings: object) -> Build:
    return lambda model: Adam(model.parameters(), **{"lr": 0.01, **settings})  # type: ignore[arg-type]


def _last_only(model: nn.Module) -> Optimizer:
    return SGD(model[-1].parameters(), lr=0.1)  # type: ignore[index]


def _freeze_first(model: nn.Module) -> None:
    for parameter in model[0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)  # noqa: FBT003 - torch has no keyword


HEALTHY = Loop()
PAIRS = {
    "lr/8": (Loop(build=_sgd(lr=0.8)), HEALTHY),
    "lr*4": (Loop(build=_sgd(lr=0.025)), HEALTHY),
    "warmup=8": (
        HEALTHY,
        Loop(schedule=lambda one: LambdaLR(one, lambda step: min(1.0, (step + 1) / 8))),
    ),
    "clip=0.1": (HEALTHY, Loop(clips=0.1)),
    "zero-grad": (Loop(clears=False), HEALTHY),
    "step-once": (Loop(n_steps_each=2), HEALTHY),
    "mean-accumulation": (Loop(n_micro=4), Loop(n_micro=4, divided_by=4)),
    "add-forgotten": (Loop(build=_last_only), HEALTHY),
    "unfreeze": (Loop(prepare=_freeze_first), HEALTHY),
    "no-weight-decay": (Loop(build=_sgd(weight_decay=0.5)), HEALTHY),
    "no-dropout": (Loop(model=partial(_model, dropout=0.9)), HEALTHY),
    "eps=1e-8": (Loop(build=_adam(eps=1.0)), Loop(build=_adam())),
    "momentum=0.9": (HEALTHY, Loop(build=_sgd(momentum=0.9))),
    "minimize": (Loop(build=_sgd(maximize=True)), HEALTHY),
    "float32": (Loop(low=True), HEALTHY),
    "modes": (
        Loop(model=partial(_model, norm=True), trains=False),
        Loop(model=partial(_model, norm=True)),
    ),
    "constant-lr": (Loop(schedule=lambda one: StepLR(one, 2, 0.1)), HEALTHY),
}


@pytest.mark.parametrize("dose", PAIRS)
def test_a_fault_with_its_remedy_is_the_training_without_the_fault(dose: str) -> None:
    fault, healthy = PAIRS[dose]
    treated = fault.losses(Treatment([Dose.of(dose)]))
    assert treated == healthy.losses()
    assert treated != fault.losses()


@pytest.mark.parametrize("dose", [*PAIRS, "init=he", "standardize-inputs", "no-weight-decay"])
def test_everything_before_a_remedy_acts_is_equal_bit_for_bit(dose: str) -> None:
    fault = PAIRS.get(dose, (HEALTHY, HEALTHY))[0]
    treatment = Treatment([Dose.of(dose)])
    treated, control = fault.losses(treatment), fault.losses()
    (one,) = treatment.remedies
    assert one.n_acts > 0
    assert one.equal_steps is not None
    assert treated[: one.equal_steps] == control[: one.equal_steps]


@pytest.mark.parametrize(
    ("dose", "loop"),
    [
        ("add-forgotten", HEALTHY),
        ("unfreeze", HEALTHY),
        ("no-weight-decay", HEALTHY),
        ("no-dropout", HEALTHY),
        ("eps=1e-8", HEALTHY),
        ("eps=1e-8", Loop(build=lambda model: Adafactor(model.parameters()))),  # it has a pair
        ("momentum=0.9", Loop(build=_adam())),
        ("minimize", HEALTHY),
        ("lr[1]/8", HEALTHY),
    ],
)
def test_a_remedy_without_anything_to_change_says_so(dose: str, loop: Loop) -> None:
    with pytest.raises(NotApplicable):
        loop.losses(Treatment([Dose.of(dose)]))


@pytest.mark.parametrize("dose", ["zero-grad", "step-once", "modes", "constant-lr", "float32"])
def test_a_remedy_of_a_training_that_has_no_such_fault_changes_no_bit(dose: str) -> None:
    assert HEALTHY.losses(Treatment([Dose.of(dose)])) == HEALTHY.losses()


def test_one_group_alone_gets_another_rate() -> None:
    def build(rates: tuple[float, float]) -> Build:
        return lambda model: SGD(
            [{"params": model[0].parameters()}, {"params": model[-1].parameters(), "lr": rates[1]}],  # type: ignore[index]
            lr=rates[0],
        )

    treated = Loop(build=build((0.1, 0.4))).losses(Treatment([Dose.of("lr[1]/4")]))
    assert treated == Loop(build=build((0.1, 0.1))).losses()


def test_a_script_that_prints_its_rate_sees_its_own() -> None:
    model = _model()
    optimizer = SGD(model.parameters(), lr=0.8)
    treatment = Treatment([Dose.of("lr/8")])
    treatment.join(model, [optimizer], None)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.8


def test_new_weights_leave_the_random_numbers_of_the_script_alone() -> None:
    model = _model()
    with torch.no_grad():
        model[0].weight.mul_(50)
    before = torch.get_rng_state()
    treatment = Treatment([Dose.of("init=he")])
    treatment.join(model, [SGD(model.parameters(), lr=0.1)], None)
    assert torch.equal(before, torch.get_rng_state())
    assert float(model[0].weight.detach().std()) < 2
    assert not model[0].bias.any()


def test_inputs_arrive_with_mean_zero_and_deviation_one_and_evaluations_use_the_same() -> None:
    seen: list[Tensor] = []
    model = nn.Sequential(nn.Linear(3, 1))
    model[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach()))
    treatment = Treatment([Dose.of("standardize-inputs")])
    treatment.join(model, [SGD(model.parameters(), lr=0.1)], None)
    torch.manual_seed(0)
    batches = [torch.randn(200, 3) * torch.tensor([1.0, 100.0, 0.0]) + 1000 for _ in range(5)]
    for batch in batches:
        model(batch)
    with torch.no_grad():
        model(batches[0])
    whole = torch.cat(batches)
    expected = (batches[0] - whole.mean(0)) / torch.cat([whole.std(0)[:2], torch.ones(1)])
    assert torch.allclose(seen[-1], expected, atol=0.02)


def test_targets_are_standardised_for_the_gradient_and_the_loss_keeps_its_unit() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(64, 4)
    target = 1000 + 50 * inputs[:, :1]

    def trained(*, by_hand: bool, treatment: Treatment | None) -> tuple[Tensor, float]:
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = SGD(model.parameters(), lr=0.1)
        if treatment is not None:
            treatment.join(model, [optimizer], None)
        wanted = (target - target.mean()) / target.std() if by_hand else target
        for _ in range(20):
            optimizer.zero_grad()
            loss = functional.mse_loss(model(inputs), wanted)
            loss.backward()
            optimizer.step()
        if treatment is not None:
            treatment.leave()
        return model.weight.detach(), float(loss.detach())

    by_hand, small = trained(by_hand=True, treatment=None)
    treated, shown = trained(by_hand=False, treatment=Treatment([Dose.of("standardize-targets")]))
    assert torch.allclose(by_hand, treated, atol=1e-4)
    assert shown == pytest.approx(small * float(target.std()) ** 2, rel=1e-3)


def test_a_softmax_is_left_out_of_the_gradient_and_the_loss_stays_that_of_the_script() -> None:
    torch.manual_seed(0)
    logits = torch.randn(8, 3, requires_grad=True)
    labels = torch.randint(0, 3, (8,))
    (wanted,) = torch.autograd.grad(functional.cross_entropy(logits, labels), logits)
    shown = functional.cross_entropy(logits.softmax(1), labels)
    treatment = Treatment([Dose.of("no-softmax")])
    treatment.join(nn.Linear(1, 1), [], None)
    loss = functional.cross_entropy(logits.softmax(1), labels)
    treatment.leave()
    assert float(loss.detach()) == float(shown.detach())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.allclose(gradient, wanted, atol=1e-6)


def _batches(loader: Iterable[list[Tensor]]) -> list[list[int]]:
    return [batch[0].tolist() for batch in loader]


def test_loaders_that_go_in_order_are_shuffled_while_training() -> None:
    loader = DataLoader(TensorDataset(torch.arange(20)), batch_size=8)
    in_order = _batches(loader)
    treatment = Treatment([Dose.of("shuffle")])
    treatment.attach_early()
    shuffled = _batches(loader)
    with torch.no_grad():
        assert _batches(loader) == in_order
    treatment.leave()
    assert shuffled != in_order
    assert sorted(one for batch in shuffled for one in batch) == list(range(20))
    assert _batches(loader) == in_order


def test_training_loaders_give_larger_batches() -> None:
    loader = DataLoader(TensorDataset(torch.arange(20)), batch_size=2)
    treatment = Treatment([Dose.of("batch-size*4")])
    treatment.attach_early()
    sizes = [len(batch) for batch in _batches(loader)]
    treatment.leave()
    assert sizes == [8, 8, 4]
    assert len(_batches(loader)[0]) == 2


@pytest.mark.parametrize("remedy", all_remedies().values(), ids=lambda remedy: remedy.id)
def test_what_a_remedy_says_of_itself_holds(remedy: Remedy) -> None:
    doses = [*remedy.doses, *(dose for some in remedy.treats.values() for dose in some)]
    assert remedy.doses
    assert all(remedy_of(Dose.of(dose)) is remedy for dose in doses)
    assert remedy.changes[-1] != "."
    assert remedy.moment in Moment


def test_remedies_treat_findings_that_exist() -> None:
    from telemetry.diagnose.detector import all_detectors

    known = {detector.id for detector in all_detectors()}
    treated = {name for remedy in all_remedies().values() for name in remedy.treats}
    assert treated <= known


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("lr", "needs a factor"),
        ("lr/0", "needs a positive number"),
        ("lr/-2", "needs a positive number"),
        ("lr*nan", "needs a positive number"),
        ("clip=x", "needs a positive number"),
        ("zero-grad=1", "takes no value"),
        ("init=best", "init=he"),
        ("momentum=2", "below 1"),
        ("pray", "there is no remedy 'pray'"),
        ("", "is not a remedy"),
        ("LR/8", "is not a remedy"),
    ],
)
def test_a_dose_that_is_none_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        remedy_of(Dose.of(text))


def test_a_survey_tells_of_each_remedy_whether_it_applies_and_acts() -> None:
    doses = ("minimize", "step-once", "lr/8", "shuffle")
    treatment = Treatment([Dose.of(dose) for dose in doses], forgiving=True)
    HEALTHY.losses(treatment)
    assert list(treatment.refusals) == ["minimize"]
    assert [one.dose.text for one in treatment.remedies if one.n_acts] == ["lr/8"]


def test_an_error_of_the_script_in_a_function_that_is_stood_in_for_is_its_own() -> None:
    treatment = Treatment([Dose.of("no-softmax")])
    treatment.join(_model(), [], None)
    outputs = torch.randn(4, 3, requires_grad=True)
    with pytest.raises(ValueError, match="batch_size"):
        functional.cross_entropy(outputs, torch.zeros(5, dtype=torch.long))
    functional.cross_entropy(functional.softmax(outputs, -1), torch.zeros(4, dtype=torch.long))
    assert treatment.failures == {}
    assert treatment.remedies[0].n_acts == 1
    treatment.leave()
