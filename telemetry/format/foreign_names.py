"""Names of tensors that an optimizer holds and that are not the model's."""

import re

_NAME = re.compile(r"optimizer\.\d+\.\d+$")


def foreign_name(optimizer: int, position: int) -> str:
    """`optimizer.0.3`: by the number of the optimizer and the place of the tensor in it."""
    return f"optimizer.{optimizer}.{position}"


def is_foreign(name: str) -> bool:
    """Whether a name was made so."""
    return _NAME.match(name) is not None
