"""What must be known of a whole data set before one of its examples can be measured; read once."""

from collections import Counter
from weakref import WeakKeyDictionary

from telemetry.explain.inputs.examples import RANGE_EXAMPLES, ExampleSet, Modality

_WORDS: WeakKeyDictionary[ExampleSet, Counter[int]] = WeakKeyDictionary()
_SIZES: WeakKeyDictionary[ExampleSet, bool] = WeakKeyDictionary()


def words_of(examples: ExampleSet) -> Counter[int]:
    """How many of the texts have a token; empty for other inputs."""
    if examples not in _WORDS:
        found: Counter[int] = Counter()
        for example in examples.examples() if examples.modality is Modality.TEXT else ():
            found.update(set(example.input.flatten().tolist()))
        _WORDS[examples] = found
    return _WORDS[examples]


def sizes_differ(examples: ExampleSet) -> bool:
    """Whether the inputs, of which up to 256 are looked at, have more than one shape."""
    if examples not in _SIZES:
        picks = range(min(len(examples), RANGE_EXAMPLES))
        _SIZES[examples] = len({examples.example(place).input.shape for place in picks}) > 1
    return _SIZES[examples]
