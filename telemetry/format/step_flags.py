"""Bits of the column `steps.flags`, which one half sets and the other reads."""

from enum import IntFlag


class StepFlag(IntFlag):
    """What is known of one optimizer step."""

    LOSS_REPORTED = 1
    SKIPPED = 2
    CLIPPED_BEFORE_UNSCALING = 4
    VALUE_CLIPPING = 8
    SAMPLED = 16
    EVALUATED = 32
