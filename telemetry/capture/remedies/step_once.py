"""A call of `optimizer.step()` without a backward pass since the last one is left out."""

from functools import partial

from torch.optim import Optimizer

from telemetry.capture.remedy import Dose, Function, Moment, Remedy, Treated


def attach(treated: Treated, _dose: Dose) -> None:
    """Let each optimizer step once a backward pass; a call with a closure runs its own."""
    fresh = {id(optimizer): True for optimizer in treated.optimizers}

    def note() -> None:
        fresh.update(dict.fromkeys(fresh, True))

    treated.on_backward(note)
    for optimizer in treated.optimizers:
        treated.stand_in(optimizer, "step", partial(_once, treated, optimizer, fresh))


def _once(
    treated: Treated, optimizer: Optimizer, fresh: dict[int, bool], original: Function[object]
) -> Function[object]:
    def step(*arguments: object, **named: object) -> object:
        if not (fresh[id(optimizer)] or arguments or named):
            treated.acts()
            return None
        fresh[id(optimizer)] = False
        return original(*arguments, **named)

    return step


REMEDY = Remedy(
    id="step-once",
    changes="leaves out steps without a backward pass since the last step",
    restores=True,
    doses=("step-once",),
    moment=Moment.FORWARD,  # after the step whose repetition is left out
    attach=attach,
)
