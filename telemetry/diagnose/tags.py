"""Tags of a run that the diagnosis understands: what they say about the run, and what they change.

A tag is the trainer's word that something unusual is meant. What a rule found in spite of it is
listed as suppressed by the tag, or told as information; nothing vanishes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from telemetry.diagnose.policy import Suppression
from telemetry.json_values import Json

FROZEN = "frozen:"  # and a pattern of layers or parameters


class Tag(StrEnum):
    """Tags with a meaning, in lower case; upper case means the same."""

    GAN = "gan"
    RL = "rl"
    REINFORCEMENT_LEARNING = "reinforcement-learning"
    OVERFIT_ONE_BATCH = "overfit-one-batch"
    FINE_TUNE = "fine-tune"
    MC_DROPOUT = "mc-dropout"


UNJUDGED = frozenset({Tag.GAN, Tag.RL, Tag.REINFORCEMENT_LEARNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """One tag as `telemetry detectors --tags` lists it.

    Attributes:
        tag: As it is written.
        says: About the run.
        changes: In the diagnosis.
        silenced: Rules whose findings are suppressed.
        softened: Rules whose findings are information at most.
    """

    tag: str
    says: str
    changes: str
    silenced: tuple[str, ...] = ()
    softened: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """One entry of `tags` in `detectors --json`."""
        return {
            "tag": self.tag,
            "says": self.says,
            "changes": self.changes,
            "silenced": self.silenced,
            "softened": self.softened,
        }


_UNJUDGED_CHANGES = (
    "the loss does not measure progress: statistical rules give information at most, and "
    "loss_not_decreasing is not checked"
)
MEANINGS = (
    Meaning(tag=Tag.GAN, says="adversarial training", changes=_UNJUDGED_CHANGES),
    Meaning(tag=Tag.RL, says="reinforcement learning", changes=_UNJUDGED_CHANGES),
    Meaning(tag=Tag.REINFORCEMENT_LEARNING, says="the same as rl", changes=_UNJUDGED_CHANGES),
    Meaning(
        tag=Tag.OVERFIT_ONE_BATCH,
        says="a few batches are learnt by heart on purpose, to test the loop",
        changes="what follows from that is suppressed",
        silenced=("repeated_batch", "overfitting", "leakage", "label_noise"),
    ),
    Meaning(
        tag=Tag.FINE_TUNE,
        says="the weights come from an earlier training",
        changes="small steps are information at most",
        softened=("learning_rate_too_low", "low_precision_updates"),
    ),
    Meaning(
        tag=Tag.MC_DROPOUT,
        says="dropout stays on in evaluations, to draw samples",
        changes="dropout in an evaluation is information; BatchNorm there is not",
        softened=("train_eval_mode",),
    ),
    Meaning(
        tag=f"{FROZEN}PATTERN",
        says="layers or parameters of that pattern are not meant to learn",
        changes="they count as if requires_grad were False: no rule about gradients, updates or "
        "weights looks at them",
        silenced=("unchanged_parameters",),
    ),
)


def suppressions(tags: Sequence[str]) -> tuple[Suppression, ...]:
    """What the tags of a run silence."""
    own = {tag.lower() for tag in tags}
    return tuple(
        Suppression(detector=detector, reason=meaning.says, by=f"tag {meaning.tag}")
        for meaning in MEANINGS
        if meaning.tag in own
        for detector in meaning.silenced
    )


def is_frozen(tags: Sequence[str], *names: str) -> bool:
    """Whether a tag `frozen:PATTERN` fits one of the names: a parameter's, its layer's path."""
    patterns = [tag[len(FROZEN) :] for tag in tags if tag.lower().startswith(FROZEN)]
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def about(detector: str) -> tuple[Meaning, ...]:
    """The tags that concern one rule in particular."""
    return tuple(m for m in MEANINGS if detector in {*m.silenced, *m.softened})
