"""What a rule found, before anyone knows how severe it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from telemetry.diagnose.judgement.harm import Harm
from telemetry.diagnose.judgement.severity import Strength
from telemetry.finding import Finding
from telemetry.json_values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One thing that a rule found; the fields of a finding, without whose and how severe it is.

    Attributes:
        strength: How sure and how large it is.
    """

    strength: Strength
    message: str
    advice: str
    layer: str | None = None
    layers: tuple[str, ...] = ()
    first_step: int | None = None
    last_step: int | None = None
    value: float | None = None
    threshold: float | None = None
    unit: str = ""
    evidence: Mapping[str, Json] = field(default_factory=dict)
    rules_out: frozenset[str] = frozenset()
    also_causes: frozenset[str] = frozenset()
    earliest: int | None = None

    def finding(self, detector: str, harm: Harm) -> Finding:
        """The finding of a rule in a run that fails to reach so much."""
        return Finding(
            detector=detector,
            severity=self.strength.severity(harm),
            message=self.message,
            advice=self.advice,
            layer=self.layer,
            layers=self.layers,
            first_step=self.first_step,
            last_step=self.last_step,
            value=self.value,
            threshold=self.threshold,
            unit=self.unit,
            evidence=self.evidence,
            rules_out=self.rules_out,
            also_causes=self.also_causes,
            earliest=self.earliest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a rule that has passed can tell where it is asked for by name.

    One rule for information: it stands in a full diagnosis only where it names a change that is
    worth making, because the loss fails or has stopped to fall, or because work is wasted. All
    else is a description, or healthy runs would carry lines that nobody can act on.
    """

    candidate: Candidate
