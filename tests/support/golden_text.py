"""When a text is the one of a golden file: exactly, but for the last digits of JSON numbers.

The last digits of a sum depend on the vector instructions and threads of the machine.
"""

import math
import re

RELATIVE_TOLERANCE = 1e-5  # float32 has 7 digits; sums over a golden's few tensors lose one
ABSOLUTE_TOLERANCE = 1e-9

# Strings are matched so that the numbers inside them are not; integers are left as they are.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|(-?\d+(?:\.\d+(?:[eE][+-]?\d+)?|[eE][+-]?\d+))')


def is_same_json(expected: str, text: str) -> bool:
    """Whether two JSON texts differ in nothing but the last digits of fractions."""
    if expected == text:
        return True
    parts, other_parts = _split(expected), _split(text)
    return parts[0] == other_parts[0] and all(
        math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
        for one, other in zip(parts[1], other_parts[1], strict=True)
    )


def _split(text: str) -> tuple[str, list[float]]:
    """The text with a mark in the place of each fraction, and the fractions."""
    fractions: list[float] = []

    def taken(token: re.Match[str]) -> str:
        if token[1] is None:
            return token[0]
        fractions.append(float(token[1]))
        return "\0"

    return _TOKEN.sub(taken, text), fractions
