"""Words that every comparison shares: which way is better, what was found, along which axis."""

from enum import StrEnum


class Verdict(StrEnum):
    """Is the candidate worse? `no_change` is a positive statement within the margin."""

    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    NO_CHANGE = "no_change"
    INCONCLUSIVE = "inconclusive"


class Direction(StrEnum):
    """Which way of a metric is better."""

    LOWER = "lower"
    HIGHER = "higher"


class DirectionSource(StrEnum):
    """Why a direction is taken: a word of the metric's name, the user, or nothing better known."""

    NAME = "name"
    GIVEN = "given"
    ASSUMED = "assumed"


class Axis(StrEnum):
    """What places the values of two runs beside each other."""

    STEP = "step"
    SAMPLES = "samples"
    TOKENS = "tokens"
    TIME = "time"


class DivergenceKind(StrEnum):
    """Why two runs part."""

    INITIAL_WEIGHTS = "initial_weights"
    DATA = "data"
    OPTIMIZATION = "optimization"
    CODE = "code"
    ENVIRONMENT = "environment"
    NONDETERMINISM = "nondeterminism"
    NONE = "none"
    UNKNOWN = "unknown"
