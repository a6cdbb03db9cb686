"""What a script was called with, as the configuration of its run."""

import math
from collections.abc import Sequence

from telemetry.json_values import Json

POSITIONAL = "arguments"


def config_of(arguments: Sequence[str]) -> dict[str, Json]:
    """`--learning-rate 0.1 --fast data` as `{"learning_rate": 0.1, "fast": True, ...}`.

    An option takes the next word as its value unless that is an option too. Words that belong to
    no option are joined under `arguments`; of an option given twice the last value counts.

    Args:
        arguments: Words after the script.
    """
    config: dict[str, Json] = {}
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not is_option(word):
            rest.append(word)
            continue
        name, has_value, value = word.partition("=")
        if has_value:
            config[key_of(name)] = value_of(value)
        elif words and not is_option(words[0]):
            config[key_of(name)] = value_of(words.pop(0))
        else:
            config[key_of(name)] = True
    if rest:
        config[POSITIONAL] = " ".join(rest)
    return config


def is_option(word: str) -> bool:
    """Whether an argument begins with a dash and is not a negative number."""
    return word.startswith("-") and word.strip("-") != "" and isinstance(value_of(word), str)


def key_of(name: str) -> str:
    """`--learning-rate` is `learning_rate`, as argparse has it."""
    return name.lstrip("-").replace("-", "_")


def value_of(text: str) -> Json:
    """A number where the text is one."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
