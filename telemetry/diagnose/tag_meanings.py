"""What the tags of a run say, and what each changes in the diagnosis.

Nothing vanishes by a tag: what a rule found in spite of it is listed as suppressed by the tag, or
is information. Which rules that concerns is declared by each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.diagnose.detector import all_detectors
from telemetry.diagnose.policy import Suppression
from telemetry.diagnose.tags import Tag
from telemetry.json_values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """One tag as `telemetry detectors --tags` lists it.

    Attributes:
        tag: As it is written.
        says: About the run.
        changes: In the diagnosis.
    """

    tag: Tag
    says: str
    changes: str

    @property
    def silenced(self) -> tuple[str, ...]:
        """Rules whose findings are suppressed."""
        return tuple(d.id for d in all_detectors() if self.tag in d.silenced_by)

    @property
    def softened(self) -> tuple[str, ...]:
        """Rules whose findings are information at most."""
        return tuple(d.id for d in all_detectors() if self.tag in d.softened_by)

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
    "the loss does not measure progress: statistical rules report information at most, and "
    "loss_not_decreasing is not checked"
)
MEANINGS = (
    Meaning(tag=Tag.GAN, says="adversarial training", changes=_UNJUDGED_CHANGES),
    Meaning(tag=Tag.RL, says="reinforcement learning", changes=_UNJUDGED_CHANGES),
    Meaning(tag=Tag.REINFORCEMENT_LEARNING, says="same as rl", changes=_UNJUDGED_CHANGES),
    Meaning(
        tag=Tag.OVERFIT_ONE_BATCH,
        says="the run memorises a few batches on purpose, to test the loop",
        changes="findings that follow from this are suppressed",
    ),
    Meaning(
        tag=Tag.FINE_TUNE,
        says="the weights come from an earlier training",
        changes="small steps are reported as information at most",
    ),
    Meaning(
        tag=Tag.MC_DROPOUT,
        says="dropout stays on in evaluations, to draw samples",
        changes=(
            "dropout in an evaluation is only information; BatchNorm in training mode is judged "
            "as usual"
        ),
    ),
    Meaning(
        tag=Tag.FROZEN,
        says="layers or parameters that match the pattern are not meant to learn",
        changes=(
            "they are treated as if requires_grad were False: no rule about gradients, "
            "updates or weights looks at them"
        ),
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


def about(detector: str) -> tuple[Meaning, ...]:
    """The tags that concern one rule in particular."""
    return tuple(m for m in MEANINGS if detector in {*m.silenced, *m.softened})
