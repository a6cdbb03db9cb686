"""How attributions are drawn: as PNG, in colours for a terminal, and in signs without colours."""

import numpy as np
import numpy.typing as npt

from telemetry.explain.attribution.attribution import Attribution
from telemetry.explain.attribution.score import ScoreKind
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS
from telemetry.explain.pictures.characters import sign_lines
from telemetry.explain.pictures.colours import (
    Bytes,
    Floats,
    hexadecimal,
    signed_colours,
    signed_scale,
)
from telemetry.explain.pictures.draw import map_of
from telemetry.explain.pictures.part_pictures import (
    UNKNOWN,
    Valued,
    Word,
    WordLine,
    image_png,
    painted,
    table_png,
    text_png,
)
from telemetry.explain.pictures.thumbnails import thinned
from telemetry.json_values import Json


def picture(attribution: Attribution) -> bytes | None:
    """The picture as PNG; None for what is no image, no text and no row."""
    caption, parts = legend(attribution), valued(attribution)
    if _is_image(attribution):
        image = attribution.example.input.cpu()
        largest = sorted(parts, key=lambda part: -abs(part.value))
        colours, title = _colours(attribution), _title(attribution)
        return image_png(colours, image, largest, caption, attribution.id, title=title)
    if attribution.values.dim() != 1:
        return None
    if _is_text(attribution):
        return text_png(texts(attribution), caption, attribution.id)
    return table_png(parts, caption, attribution.id)


def _title(attribution: Attribution) -> str:
    """What the input is, what it is called, what is explained, and how."""
    score, method = attribution.score, attribution.method
    truth = "" if attribution.label is None else f"{attribution.label}, "
    number = f"{attribution.score_input:+.3g}"
    if score.target is None:
        return f"{truth}answer {attribution.prediction}; {method} of {number}"
    against = score.other_name or "the others"
    return (
        f"{truth}called {attribution.prediction}; {method} of {number} "
        f"for {score.target_name} against {against}"
    )


def legend(attribution: Attribution) -> str:
    """What the colours and the signs of the picture mean."""
    score = attribution.score
    against = score.other_name or "the others"
    wrong = _is_wrong(attribution)
    plus, minus = ("orange", "blue") if wrong else ("blue", "orange")
    if score.target is None:
        more, less = ("lowers", "raises") if score.sign < 0 else ("raises", "lowers")
        said = f"{plus} +: {more} the answer; {minus} -: {less} it"
    else:
        said = f"{plus} +: for {score.target_name}; {minus} -: for {against}"
    if attribution.unstable.any():
        said += "; grey ?: the sign differs between draws"
    if not _is_image(attribution):
        return said
    return f"{said}; colours end at {signed_scale(_painted(attribution)):.3g} a pixel"


def valued(attribution: Attribution) -> list[Valued]:
    """The segments in their order."""
    sign = -1 if _is_wrong(attribution) else 1
    boxes = attribution.segments.boxes
    return [
        Valued(
            name=_with_value(attribution, place, name),
            value=value,
            paint=sign * value,
            box=boxes[place] if boxes else None,
            is_unstable=bool(attribution.unstable[place]),
        )
        for place, (name, value) in enumerate(
            zip(attribution.segments.names, attribution.per_segment.tolist(), strict=True)
        )
    ]


def _with_value(attribution: Attribution, place: int, name: str) -> str:
    """A part by its name; a column of a table with its value."""
    if not attribution.given:
        return name
    value = attribution.given[place].value
    return f"{name} = {value if isinstance(value, str) else f'{value:.4g}'}"


def _is_image(attribution: Attribution) -> bool:
    return attribution.values.dim() == IMAGE_DIMENSIONS


def _is_text(attribution: Attribution) -> bool:
    """Whether the parts are tokens, whose names begin with their places."""
    return not attribution.example.input.is_floating_point() and not _is_image(attribution)


def _painted(attribution: Attribution) -> Floats:
    """The map as it is painted: blue always speaks for the truth where the score opposes it."""
    flat = map_of(attribution.shown)
    return -flat if _is_wrong(attribution) else flat


def _colours(attribution: Attribution) -> Bytes:
    """Of each pixel, height x width x 3; grey where the sign is not known."""
    flat = _painted(attribution)
    colours = signed_colours(flat, signed_scale(flat))
    colours[_is_unknown(attribution)] = UNKNOWN
    return colours


def _is_unknown(attribution: Attribution) -> npt.NDArray[np.bool_]:
    """Pixels of parts whose sign differs between draws, height x width."""
    unknown = attribution.segments.given(attribution.unstable).any(0)
    return np.asarray(unknown.numpy(), dtype=np.bool_)


def _is_wrong(attribution: Attribution) -> bool:
    """Whether the score speaks for an error, such as a class that is not the true one."""
    score = attribution.score
    truth = attribution.label
    if score.kind is ScoreKind.RESIDUAL:
        return True
    return None not in {score.target, truth} and score.target_name != truth


def grid(attribution: Attribution) -> Json:
    """Colours of the map for a terminal; None for no image."""
    if not _is_image(attribution):
        return None
    return hexadecimal(thinned(_colours(attribution)))


def marks(attribution: Attribution) -> list[Json]:
    """The same in signs, for what has no colours: those of the score, as in the legend."""
    if not _is_image(attribution):
        return []
    flat = map_of(attribution.shown)
    flat[_is_unknown(attribution)] = 0
    return sign_lines(flat)


def texts(attribution: Attribution) -> list[WordLine]:
    """The tokens of a text with their values and colours; none for no text."""
    if not _is_text(attribution):
        return []
    parts = valued(attribution)
    words = []
    for part, (red, green, blue) in zip(parts, painted(parts).tolist(), strict=True):
        place, _, text = part.name.partition(":")
        words.append(
            Word(
                text=text or part.name,
                mark=part.mark,
                value=part.value,
                colour=(red, green, blue),
                place=place,
            )
        )
    return [WordLine(name="", words=tuple(words))]
