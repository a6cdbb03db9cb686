"""Whose answer a result is."""

from dataclasses import dataclass

from telemetry.explain.inputs.examples import ExampleSet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Origin:
    """A subject as it was when it was asked; its model may have changed since.

    Attributes:
        checkpoint: Which weights, see `Subject.identity`.
        step: Training step of the weights; None where that is not known.
        examples: The data set; None where none was named.
    """

    checkpoint: str
    step: int | None
    examples: ExampleSet | None

    @property
    def dataset(self) -> str:
        """Name of the data set; empty where there is none."""
        return self.examples.name if self.examples else ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none where they are not known."""
        return self.examples.classes if self.examples else ()
