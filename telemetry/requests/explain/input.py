"""`telemetry explain input`: which parts of inputs made the model answer as it does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

from telemetry.errors import UsageError
from telemetry.requests.kinds import ExplainKind, Row
from telemetry.requests.models import ExplainRequest
from telemetry.requests.settings import Batch, Setting

METHODS = ("ig", "occlusion", "lime", "kernelshap", "deconv", "guided")
COMPARED = METHODS[:4]  # the others show structure, no reason
WRONG, PREDICTED, TRUE = "wrong", "pred", "true"  # targets that are no class
INPUT_FILES = frozenset({".npy", ".pt", ".json", ".txt", ".png", ".jpg", ".jpeg"})


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSettings:
    """How an attribution is made; None leaves the choice to what the input is."""

    method: Annotated[str, Setting("Attribution method.", choices=METHODS)] = "ig"
    compare: Annotated[
        str | None, Setting("Method to compare with (default: occlusion).", choices=COMPARED)
    ] = None
    segments: Annotated[
        str | None,
        Setting(
            "Parts of the input: grid:6x6, felzenszwalb, token, phrase:3 or feature.",
            metavar="HOW",
        ),
    ] = None
    baseline: Annotated[
        str | None,
        Setting("Reference input: zero, blur, mean, class-sample:16, ...", metavar="NAME"),
    ] = None
    samples: Annotated[
        int | None, Setting("Number of samples for lime and kernelshap.", metavar="N", least=10)
    ] = None
    seed: Annotated[int, Setting("Random seed for random samples.", metavar="N")] = 0
    embedding: Annotated[str | None, Setting("Module that embeds the tokens.", metavar="LAYER")] = (
        None
    )
    check: Annotated[bool, Setting("Skip the most expensive checks.", flag="--no-checks")] = True
    batch: Batch = 64

    def __post_init__(self) -> None:
        """Refuse what is no method.

        Raises:
            UsageError: an unknown method, or one that cannot be compared with.
        """
        if self.method not in METHODS:
            raise UsageError(f"--method {self.method}: choose {', '.join(METHODS)}.")
        others = [one for one in COMPARED if one != self.method]
        if self.compare is not None and self.compare not in others:
            raise UsageError(
                f"--compare {self.compare}: choose another method than --method {self.method}: "
                f"{', '.join(others)}."
            )

    @property
    def compared(self) -> str | None:
        """The method that is asked, too; None: none."""
        if not self.check:
            return None
        return self.compare or (None if self.method == "occlusion" else "occlusion")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRequest(ExplainRequest):
    """Say which parts of inputs made the model answer as it does."""

    examples: Annotated[
        tuple[str, ...],
        Setting(
            "Explain the example with this id or position; repeatable.",
            flag="--example",
            metavar="ID",
        ),
    ] = ()
    worst: Annotated[
        int | None, Setting("Explain the N examples with the largest losses.", metavar="N", least=1)
    ] = None
    files: Annotated[
        tuple[str, ...],
        Setting(
            "Explain an input from a file: .png, .jpg, .npy, .pt, .json, .txt; repeatable.",
            flag="--input",
            metavar="FILE",
        ),
    ] = ()
    label: Annotated[
        str | None, Setting("True class of the input from a file.", metavar="CLASS")
    ] = None
    target: Annotated[
        str | None,
        Setting(
            (
                "Answer to explain: wrong, pred, true, or a class (default wrong; pred for a file "
                "without --label)."
            ),
            metavar="WHAT",
        ),
    ] = None
    settings: InputSettings = InputSettings()
    again: Annotated[bool, Setting("Compute again what the run has an answer to.")] = False
    limit: Annotated[
        int | None, Setting("With --worst: search only the first N examples.", metavar="N", least=1)
    ] = None

    def __post_init__(self) -> None:
        """Refuse what names no input.

        Raises:
            UsageError: not one kind of input is named, or what belongs to another.
        """
        if [bool(self.examples), self.worst is not None, bool(self.files)].count(True) != 1:
            raise UsageError("no input was given; use --example ID, --worst N, or --input FILE.")
        if self.label is not None and not self.files:
            raise UsageError("--label CLASS is only for --input FILE; the data set has labels.")
        if self.limit is not None and self.worst is None:
            raise UsageError("--limit N is only for --worst N.")

    @property
    def wanted(self) -> str:
        """The target: of a file whose class nobody says nothing is known to be wrong."""
        return self.target or (PREDICTED if self.files and self.label is None else WRONG)


def _about(rows: Sequence[Row]) -> str:
    """Id of an example; name of its file, where it lies in one."""
    dataset = str(rows[0]["dataset"])
    is_file = PurePosixPath(dataset).suffix.lower() in INPUT_FILES
    return dataset if is_file else f"example {rows[0]['example_id']}"


KIND = ExplainKind(
    name="input",
    verb="explain.input",
    request=InputRequest,
    room="attribution",
    doing="explaining",
    key="attributions",
    table="attributions",
    identity="attribution_id",
    unread=frozenset({"baseline_values", "segment_boxes", "seconds"}),
    about=_about,
)
