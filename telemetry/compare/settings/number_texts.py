"""Numbers of parameters as people write them."""


def number_text(value: float) -> str:
    """A parameter's number as people write it."""
    return f"{value:.4g}"


def range_text(low: float, high: float) -> str:
    """A range of numbers, or the one number."""
    ends = number_text(low), number_text(high)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} .. {ends[1]}"
