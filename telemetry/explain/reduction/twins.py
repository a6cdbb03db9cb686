"""What a wrong input is compared with: another example, or itself with its details removed."""

import difflib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from telemetry.capture.tensors.predictions import input_digest
from telemetry.errors import Inconclusive, UsageError
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, Example, Modality
from telemetry.explain.inputs.input_files import is_input_file, read_input
from telemetry.explain.inputs.masks import like
from telemetry.explain.inputs.padding import Padding
from telemetry.explain.inputs.plain_images import blurred
from telemetry.explain.models.classifier import Classifier

NEAREST, BLUR, MEAN, INPAINT = "nearest", "blur", "mean", "inpaint"
PLAIN = (BLUR, MEAN, INPAINT)  # what an image may become itself
SEARCHED = 10_000  # examples, for the nearest one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Twin:
    """The other input of a pair.

    Attributes:
        id: Of the example, or the name of its file; None: it was made of the wrong one.
        name: As a sentence says it: "example 12", or what was done.
        input: As the model takes it.
        is_nearest: Whether it was searched for.
        is_filled: Whether parts are filled in from around them; the input is then the wrong one.
    """

    id: str | None
    name: str
    input: Tensor
    is_nearest: bool = False
    is_filled: bool = False

    @property
    def is_real(self) -> bool:
        """Whether it is an input of its own."""
        return self.id is not None

    @property
    def digest(self) -> str:
        """Of the input."""
        return input_digest(self.input)


def twin_of(right: str | Example | None, wrong: Example, classifier: Classifier) -> Twin:
    """Find the input that a name refers to.

    Args:
        right: Id or place of an example, a file (see `read_input`), `nearest`, `blur`, `mean` or
            `inpaint`; None: what fits.
        wrong: The input that is answered wrongly.
        classifier: Knows examples and answers.

    Raises:
        UsageError: there is no such example, or no image can be blurred.
        Inconclusive: no example of the class is answered rightly.
    """
    is_image = wrong.input.dim() == IMAGE_DIMENSIONS
    if right is None:
        right = BLUR if is_image else NEAREST
    if right in PLAIN:
        if not is_image:
            raise UsageError(
                f"--right {right}: an input of shape {tuple(wrong.input.shape)} is not an "
                "image; use --right nearest."
            )
        return _plain(str(right), wrong.input)
    if right == NEAREST:
        return _nearest(wrong, classifier)
    if isinstance(right, str) and is_input_file(right):
        path = Path(right)
        return Twin(id=path.name, name=path.name, input=read_input(path, classifier.examples))
    chosen = classifier.examples.find(right) if isinstance(right, str) else right
    return Twin(id=chosen.id, name=f"example {chosen.id}", input=chosen.input)


def _plain(how: str, image: Tensor) -> Twin:
    """An image without its details."""
    if how == INPAINT:
        return Twin(id=None, name="filled in from around them", input=image, is_filled=True)
    values = image.float()
    if how == BLUR:
        return Twin(id=None, name="blurred", input=like(blurred(values), image))
    flat = values.mean((1, 2), keepdim=True).expand_as(values).contiguous()
    return Twin(id=None, name="replaced by their mean colour", input=like(flat, image))


def _nearest(wrong: Example, classifier: Classifier) -> Twin:
    """The most similar example of the true class that is answered rightly."""
    truth = classifier.truth(wrong)
    is_text = classifier.examples.modality is Modality.TEXT
    same = [
        example
        for example in classifier.examples.examples(SEARCHED)
        if example.id != wrong.id
        and classifier.agree(classifier.truth(example), truth)
        and (is_text or example.input.shape == wrong.input.shape)
    ]
    found = classifier([example.input for example in same], [truth] * len(same)) if same else None
    right = [e for place, e in enumerate(same) if found is not None and bool(found.right[place])]
    if not right:
        raise Inconclusive(
            f"no other example of {classifier.name(truth)} among the first {SEARCHED} is "
            "answered correctly; name an input with --right."
        )
    padding = classifier.examples.padding
    distances = _text_distances(wrong, right, padding) if is_text else _distances(wrong, right)
    best = right[min(range(len(right)), key=distances.__getitem__)]
    return Twin(id=best.id, name=f"example {best.id}", input=best.input, is_nearest=True)


def _distances(wrong: Example, others: list[Example]) -> list[float]:
    """Euclidean, in standard deviations of each element over the others."""
    stacked = torch.stack([example.input for example in others]).double().flatten(1)
    deviation = stacked.std(0, correction=0) if len(others) > 1 else torch.ones_like(stacked[0])
    scale = torch.where(deviation > 0, deviation, 1.0)
    if wrong.input.dim() == IMAGE_DIMENSIONS:
        scale = torch.ones_like(scale)  # a pixel that hardly ever varies is no better a witness
    return [float(d) for d in ((stacked - wrong.input.double().flatten()) / scale).norm(dim=1)]


def _text_distances(wrong: Example, others: list[Example], padding: Padding) -> list[float]:
    """Share of tokens that do not match; padding and special tokens at the ends do not count."""
    matcher = difflib.SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(_words(wrong, padding))
    found = []
    for example in others:
        matcher.set_seq1(_words(example, padding))
        found.append(1 - matcher.ratio())
    return found


def _words(example: Example, padding: Padding) -> list[str]:
    return [str(token) for token in padding.parted(example.input).core]
