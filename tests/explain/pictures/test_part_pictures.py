import io

import numpy as np
import pytest
import torch
from PIL import Image

from telemetry.explain.pictures.colours import signed_table
from telemetry.explain.pictures.draw import fitted, outlined, picture_of_input
from telemetry.explain.pictures.lettering import LINE
from telemetry.explain.pictures.part_pictures import (
    Valued,
    Word,
    WordLine,
    image_png,
    painted,
    signed,
    table_png,
    text_png,
)

pytestmark = pytest.mark.torch

WHITE = np.full((8, 8, 3), 247, dtype=np.uint8)
AGAINST, NEUTRAL, FOR = (tuple(signed_table()[place].tolist()) for place in (0, 128, 256))


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def colours_of(content: bytes) -> set[tuple[int, ...]]:
    pixels = np.asarray(opened(content)).reshape(-1, 3)
    return {tuple(pixel) for pixel in np.unique(pixels, axis=0).tolist()}


def part(name: str, value: float, box: tuple[int, int, int, int] | None = None) -> Valued:
    return Valued(name=name, value=value, paint=-value, box=box)


def test_an_image_has_three_panels_and_names_its_row() -> None:
    parts = [part("r0c0", 4.4, (0, 0, 4, 4)), part("r1c1", -2.0, (4, 4, 8, 8))]
    content = image_png(WHITE, torch.rand(3, 8, 8), parts, "blue: for é", "abc123")
    picture = opened(content)
    assert picture.text["telemetry"] == "abc123"
    assert picture.size == (3 * 256 + 4 * 12, 256 + 3 * 12 + LINE)
    again = image_png(WHITE, torch.rand(3, 8, 8), parts, "blue: for é", "abc123")
    assert opened(again).size == picture.size


def test_an_input_keeps_its_colours_and_has_its_title_and_a_box() -> None:
    image = torch.zeros(3, 8, 8)
    image[0, 4:], image[:, 0, 0] = 1.0, 1.0
    parts = [part("r0c0", 4.4, (0, 0, 4, 4))]
    bare, titled = (
        np.asarray(opened(image_png(WHITE, image, parts, "", "a", title=title)))
        for title in ("", "star, called circle")
    )
    assert titled.shape[0] - bare.shape[0] == LINE
    assert tuple(bare[12 + 200, 12 + 128]) == (255, 0, 0)
    assert tuple(bare[12, 12 + 64]) == (255, 255, 255)  # the line around the part
    assert tuple(bare[12 + 1, 12 + 64]) == (0, 0, 0)


def test_the_numbers_of_parts_stand_on_the_map() -> None:
    """Without colour the sign would be lost: white plates with ink lie in the parts."""
    image = torch.zeros(1, 8, 8)
    plain = np.asarray(opened(image_png(WHITE, image, [], "", "a")))
    drawn = np.asarray(opened(image_png(WHITE, image, [part("p", 4.4, (0, 0, 4, 4))], "", "a")))
    changed = np.argwhere((plain != drawn[: plain.shape[0]]).any(-1))
    map_left, top = 3 * 12 + 2 * 256, 12
    inside = changed[(changed[:, 0] < top + 256) & (changed[:, 1] >= map_left)]
    assert len(inside)
    assert inside.max(0).tolist() <= [top + 127, map_left + 127]
    assert (drawn[inside[:, 0], inside[:, 1]] == 0).all(-1).any()


def test_what_has_no_certain_sign_is_grey_and_asks() -> None:
    sure, unsure = (
        Valued(name="p", value=2.0, paint=2.0, is_unstable=unstable) for unstable in (False, True)
    )
    assert (sure.mark, unsure.mark) == ("+2", "+2?")
    assert painted([sure, unsure]).tolist() == [list(FOR), [200, 200, 200]]


def test_signs_are_always_written() -> None:
    assert [signed(value) for value in (4.4, -0.031, 0.0)] == ["+4.4", "-0.031", "+0"]


def words(*texts: str) -> WordLine:
    colours = {"a": FOR, "c": AGAINST}
    return WordLine(
        name="",
        words=tuple(
            Word(text=text, mark="+1", value=1.0, colour=colours.get(text, NEUTRAL), place="3")
            for text in texts
        ),
    )


def test_a_text_has_every_token_in_its_colour() -> None:
    content = text_png([words("a", "кот", "c")], "caption", "abc")
    assert {AGAINST, NEUTRAL, FOR} <= colours_of(content)
    long = text_png([words(*(f"word{n}" for n in range(60)))], "caption", "abc")
    assert opened(long).height > opened(content).height
    assert opened(long).width == opened(content).width
    assert opened(text_png([words("a"), words("b")], "c", "d")).height > opened(content).height


def test_a_word_is_told_with_an_ink_that_can_be_read() -> None:
    (word,) = words("a").words
    assert word.to_json() == {
        "text": "a",
        "mark": "+1",
        "value": 1.0,
        "colour": "#2166ac",
        "ink": "#ffffff",
    }


def test_a_row_of_a_table_has_bars_of_its_largest_columns_to_both_sides() -> None:
    columns = [part(f"column {n}", 0.01) for n in range(40)]
    content = table_png([*columns, part("income", 2.0), part("age", -2.0)], "caption", "abc")
    assert {AGAINST, FOR} <= colours_of(content)
    pixels = np.asarray(opened(content))
    right = np.argwhere((pixels == AGAINST).all(-1))[:, 1]
    left = np.argwhere((pixels == FOR).all(-1))[:, 1]
    assert left.max() < right.min()
    assert opened(table_png([part("nothing", 0.0)], "caption", "abc")).width == pixels.shape[1]


def test_inputs_are_shown_as_they_look() -> None:
    assert picture_of_input(torch.tensor([[[1.0, 3.0]]])).tolist() == [[[0] * 3, [255] * 3]]
    assert picture_of_input(torch.full((1, 2, 2), 5.0)).max() == 0
    dark = picture_of_input(torch.tensor([[[0.0, 0.2, 1.5]]]), (0.0, 1.0))
    assert dark.tolist() == [[[0] * 3, [51] * 3, [255] * 3]]
    colour = torch.tensor([0.0, 0.5, 1.0])[:, None, None]
    assert picture_of_input(colour).tolist() == [[[0, 128, 255]]]
    assert picture_of_input(torch.cat([colour, colour[:1]])).tolist() == [[[0, 128, 255]]]


def test_a_large_image_is_made_smaller_and_its_numbers_keep_their_places() -> None:
    large = np.full((1300, 2600, 3), 247, dtype=np.uint8)
    boxes = [part("p", 4.4, (0, 0, 650, 1300))]
    drawn = opened(image_png(large, torch.zeros(1, 1300, 2600), boxes, "caption", "a"))
    assert drawn.width == 3 * 434 + 4 * 12  # 2600 / 6
    assert fitted(large, 256).shape == (217, 434, 3)
    assert fitted(large[:512, :512], 256).shape == (512, 512, 3)
    assert fitted(large[:5, :5], 256).shape == (255, 255, 3)


def test_an_outline_leaves_the_inside_as_it_is() -> None:
    mask = np.zeros((3, 3), dtype=bool)
    mask[0, :2] = True  # two neighbours: no line between them
    shown = outlined(np.zeros((30, 30, 3), dtype=np.uint8), mask)
    blue = (shown == FOR).all(-1)
    assert blue[:10, :20].sum() == 10 * 20 - 6 * 16
    assert not blue[10:].any()
    assert not blue[2:8, 2:18].any()
