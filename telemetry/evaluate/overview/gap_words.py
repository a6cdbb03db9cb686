"""How a gap of training is said together with what the model makes of it."""

SHORTCUT = "shortcut"  # kind of what says a class in training alone


def with_shares(kind: str, sentence: str, outside: float, inside: float) -> str:
    """The sentence of a gap and the shares of wrong answers in it and elsewhere."""
    who = "those that contradict it" if kind == SHORTCUT else "those outside"
    return (
        f"{sentence}; {100 * outside:.1f} % of {who} are answered wrongly, "
        f"{100 * inside:.1f} % of the rest"
    )
