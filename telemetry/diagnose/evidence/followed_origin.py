"""What the recording found when it followed the first value that is not finite."""

from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.json_values import Json, json_integer, json_text, parsed_object

APPLIED = frozenset({"gradient", "optimizer_state", "update", "weight"})
SPOILED = {
    "gradient": "gradients are not finite",
    "input": "the loss is not finite",
    "loss": "the loss is not finite",
    "optimizer_state": "the update is not finite",
    "output": "the loss is not finite",
    "update": "the update is not finite",
    "weight": "parameters are not finite",
}
OPERATIONS = (
    (("softmax", "attention"), "Guard softmax rows that are masked completely."),
    (("log",), "Add an epsilon to the logarithm, or use log_softmax or logsigmoid."),
    (
        ("sqrt", "norm", "pow", "rsqrt"),
        "Add an epsilon under the square root or to the norm: its derivative at zero is infinite.",
    ),
    (("div", "reciprocal"), "Add an epsilon to the divisor, or clamp it."),
    (("exp", "cosh", "sinh"), "Clamp the argument of the exponential."),
    (
        ("mm", "linear", "conv", "mul"),
        "The product is too large for its type: lower the learning rate, or use bf16 for fp16.",
    ),
)
REPAIRS = {
    "gradient": "Look for sqrt(0), 0/0 or log(0) in its derivative, and for hooks on gradients.",
    "input": "The batch itself is not finite: check the data, not the model.",
    "loss": "Look at the target, and at what the loss divides by or takes the logarithm of.",
    "optimizer_state": "Look at what loads or writes the optimizer's state.",
    "output": "Add an epsilon or a clamp to its log, division, square root or power; use bf16 "
    "if it overflows in fp16.",
    "update": "Look at the learning rate, its schedule, and the optimizer's eps.",
    "weight": "Look at what writes into the parameter outside the optimizer.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedOrigin:
    """One origin, from the payload of its event.

    Attributes:
        what: Kind of the value.
        step: In which it arose.
        layer: Path of the module; None for the model itself, its input and its loss.
        operation: Of torch, or of its derivative; empty where it is not known.
        place: Where, in words.
        note: What else is known; may be empty.
        payload: All of it.
    """

    what: str
    step: int
    layer: str | None
    operation: str
    place: str
    note: str
    payload: dict[str, Json]

    @classmethod
    def first(cls, payloads: Sequence[str]) -> "FollowedOrigin | None":
        """The earliest of some payloads as JSON; None where none tells a step and a place."""
        known = [payload for text in payloads if (payload := _known(text)) is not None]
        return min(known, key=lambda origin: origin.step, default=None)

    @property
    def is_applied(self) -> bool:
        """Whether parameters hold it."""
        return self.what in APPLIED

    @property
    def message(self) -> str:
        """One sentence."""
        note = f"; {self.note}" if self.note else ""
        return f"{SPOILED[self.what]} at step {self.step}, first in {self.place}{note}"

    @property
    def advice(self) -> str:
        """What to do about the operation, else about the kind of value."""
        operation = self.operation.lower()
        if self.what == "input" and self.layer is not None:
            return f"Look at what the loop computes before it calls {self.layer}."
        for names, advice in OPERATIONS:
            if any(name in operation for name in names):
                return advice
        return REPAIRS[self.what]


def _known(text: str) -> FollowedOrigin | None:
    payload = parsed_object(text)
    step = json_integer(payload.get("step"))
    what, place = (json_text(payload.get(key)) or "" for key in ("what", "place"))
    if what not in SPOILED or step is None or not place:
        return None
    return FollowedOrigin(
        what=what,
        step=step,
        layer=json_text(payload.get("module")) or None,
        operation=json_text(payload.get("operation")) or "",
        place=place,
        note=json_text(payload.get("note")) or "",
        payload=payload,
    )
