import io

import numpy as np
import pytest
import torch
from pictures import SIDE, Edges, Pictures
from PIL import Image

from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.models.subject import load
from telemetry.explain.units.feature_pictures import CELL, TILE_SIDE, evolution_png, features_png
from telemetry.explain.units.layer_evolution import Course, Evolution, Moment
from telemetry.explain.units.unit_features import Features, features
from telemetry.requests.explain.features import FeaturesSettings

pytestmark = pytest.mark.torch

GAP, LINE, GREY = 6, 18, 224
PIXEL = TILE_SIDE // 3  # of a tile of three by three


class Corner(Pictures):
    """Grey pictures; number 3 is light left of column 2 in the upper two rows."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = torch.full((30, 1, SIDE, SIDE), 0.0)
        self.inputs[3, 0, 0:2, 1] = 1.0


def found() -> tuple[Features, UnitScale]:
    subject = load(Edges(), dataset=Corner())
    assert subject.examples is not None
    return features(subject, "conv", FeaturesSettings(units=(0,))), UnitScale.of(subject.examples)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_a_patch_at_the_edge_is_grey_where_it_leaves_its_image() -> None:
    shown, scale = found()
    assert shown.units[0].patches[0].box == (0, 1, 2, 4)
    tile = pixels(features_png(shown, scale))[GAP + 2 * LINE :, GAP:][:TILE_SIDE, :TILE_SIDE]
    assert (tile[:PIXEL] == GREY).all()
    assert (tile[PIXEL:, :PIXEL] == 255).all()  # the light column
    assert (tile[PIXEL:, PIXEL:] == 0).all()


def test_the_evolution_is_a_map_of_layers_and_a_row_of_tiles_a_checkpoint() -> None:
    shown, scale = found()
    evolved = Evolution(
        moments=tuple(Moment(path=None, step=s, digest="") for s in (0, 5, 9)),  # type: ignore[arg-type]
        has_steps=True,
        courses=(Course(layer="conv", changes=(0.5, 0.25, 0.0)),),
        checks=(),
        forwards=0,
    )
    maps = [patch.deconvolution for patch in shown.units[0].patches]
    page = pixels(evolution_png(shown, evolved, {0: [maps] * 3}, scale, "id"))  # type: ignore[dict-item]
    heat = page[GAP + 3 * LINE + CELL // 2, GAP + CELL // 2 :: TILE_SIDE + GAP][:3]
    assert heat[0].tolist() == [0xFE, 0xE8, 0x38]
    assert heat[2].tolist() == [0x00, 0x22, 0x4E]
    blue = (page == [0x21, 0x66, 0xAC]).all(-1)
    assert blue.sum() >= 3 * 2 * PIXEL * PIXEL  # two pixels of the kernel in each of three rows
