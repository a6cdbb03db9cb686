import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.examples import ExampleSet
from telemetry.explain.input_files import is_input_file, read_input

pytestmark = pytest.mark.torch


class Photos:
    value_range = (0.0, 1.0)
    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(3, 2, 4), 0


class Texts:
    modality = "text"

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([1, 2, 3]), 0


PHOTOS, TEXTS = ExampleSet(Photos(), "photos"), ExampleSet(Texts(), "texts")


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
def test_arrays_are_taken_as_they_are(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clean{suffix}"
    values = torch.linspace(-2, 2, 24).reshape(3, 2, 4)
    if suffix == ".npy":
        np.save(path, values.numpy().astype(np.float64))
    else:
        torch.save(values, path)
    assert torch.allclose(read_input(path, PHOTOS), values)
    assert read_input(path, PHOTOS).dtype == torch.float32


def test_a_picture_is_normalised_as_the_data_set_is(tmp_path: Path) -> None:
    path = tmp_path / "clean.png"
    pixels = np.zeros((2, 4, 3), dtype=np.uint8)
    pixels[0, 1] = (255, 51, 0)
    Image.fromarray(pixels).save(path)
    found = read_input(path, PHOTOS)
    assert found[:, 0, 1].tolist() == pytest.approx([2.0, (0.2 - 0.5) / 0.25, -2.0])


def test_tokens_are_a_list_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / "clean.json"
    path.write_text(json.dumps([4, 5, 6, 7]), "utf-8")
    assert read_input(path, TEXTS).tolist() == [4, 5, 6, 7]
    path.write_text(json.dumps([4.5]), "utf-8")
    with pytest.raises(UsageError, match="holds fractions, expected tokens"):
        read_input(path, TEXTS)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("absent.npy", None, "cannot be read as an input"),
        ("torn.npy", b"not an array", "cannot be read as an input"),
        ("torn.png", b"not a picture", "cannot be read as an input"),
        ("pickled.pt", b"\x80\x04K\x01.", "cannot be read as an input"),
        ("row.json", b"[1.0, 2.0]", r"shape \(2,\), expected \(3, 2, 4\)"),
        ("bright.json", json.dumps(np.full((3, 2, 4), 9.0).tolist()).encode(), "outside value_ra"),
        ("nan.json", json.dumps(np.full((3, 2, 4), np.nan).tolist()).encode(), "are not finite"),
    ],
)
def test_what_is_no_such_input_is_refused(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=complaint):
        read_input(tmp_path / name, PHOTOS)


def test_an_id_that_looks_like_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "clean.PNG").write_bytes(b"")
    (tmp_path / "clean.txt").write_bytes(b"")
    assert is_input_file(str(tmp_path / "clean.PNG"))
    assert not is_input_file(str(tmp_path / "clean.txt"))
    assert not is_input_file(str(tmp_path / "img_12.png"))
    assert not is_input_file("4711")
