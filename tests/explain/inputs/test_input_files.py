import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from explainable import Rows, build_sum
from PIL import Image
from torch import Tensor

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.inputs.input_files import is_input_file, read_example, read_input

pytestmark = pytest.mark.torch


def png(size: tuple[int, int], mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "png")
    return stream.getvalue()


def npy(values: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


def claiming(side: int) -> bytes:
    """A picture that says it has many more pixels than it holds."""
    size = struct.pack(">II", side, side)
    content = png((1, 1))
    head = b"IHDR" + size + content[24:29]
    return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]


OBJECTS = npy(np.array([{}], dtype=object))
COMPLEX = npy(np.zeros((3, 2, 4), dtype=np.complex64))
LARGE, DEEP, BOMB = png((300, 2)), png((4, 2), "I;16"), claiming(10_000)


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


class Words(Texts):
    words = ("", "good", "bad")

    def encode(self, words: list[str]) -> list[int]:
        return [self.words.index(word) for word in words]


class Columns:
    feature_names = ("width", "height")
    classes = ("7", "up")

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(2), 0


COLUMNS, WORDS = ExampleSet(Columns(), "columns"), ExampleSet(Words(), "words")
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
    with pytest.raises(UsageError, match="contains fractions, expected tokens"):
        read_input(path, TEXTS)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("absent.npy", None, "there is no such file"),
        ("photo.bmp", b"BM", "unknown kind of file"),
        ("words.txt", b"a b", r"data set photos has no encode\(words\)"),
        ("object.npy", OBJECTS, "cannot be read as an input"),
        ("complex.npy", COMPLEX, "contains complex numbers"),
        ("large.png", LARGE, "300 x 2 pixels, expected 4 x 2; resize it"),
        ("bomb.png", BOMB, "cannot be read as an input .DecompressionBomb"),
        ("deep.png", DEEP, "more than 8 bits"),
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
    (tmp_path / "clean.bmp").write_bytes(b"")
    assert is_input_file(str(tmp_path / "clean.PNG"))
    assert not is_input_file(str(tmp_path / "clean.bmp"))
    assert not is_input_file(str(tmp_path / "img_12.png"))
    assert not is_input_file("4711")


def test_words_become_tokens_as_the_data_set_says(tmp_path: Path) -> None:
    path = tmp_path / "review.txt"
    path.write_text("good\n bad good\n", "utf-8")
    assert read_input(path, WORDS).tolist() == [1, 2, 1]
    path.write_text("good grief", "utf-8")
    with pytest.raises(
        UsageError, match=r"review.txt: encode.words. of data set words fails .ValueError"
    ):
        read_input(path, WORDS)
    path.write_text("", "utf-8")
    with pytest.raises(UsageError, match=r"review.txt: is empty"):
        read_input(path, WORDS)


def test_a_row_may_name_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    path.write_text('{"height": 2, "width": 1.5}', "utf-8")
    assert read_input(path, COLUMNS).tolist() == [1.5, 2.0]
    path.write_text('{"height": 2}', "utf-8")
    with pytest.raises(UsageError, match=r"row.json: lacks columns width\."):
        read_input(path, COLUMNS)
    path.write_text('{"height": 2, "width": 1, "heigth": 2}', "utf-8")
    with pytest.raises(UsageError, match=r"row.json: has the unknown columns heigth\."):
        read_input(path, COLUMNS)


def test_the_same_input_is_the_same_example_whatever_its_file_is_called(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text("[1, 2]", "utf-8")
    second.write_text("[1.0, 2.0]", "utf-8")
    found = read_example(first, COLUMNS)
    assert found.id == found.digest == read_example(second, COLUMNS).id
    assert found.label is None


@pytest.mark.parametrize(
    ("text", "label"), [("up", "up"), ("7", "7"), ("1", 1), ("0.5", 0.5), ("no", "no")]
)
def test_a_label_is_a_name_else_a_number(tmp_path: Path, text: str, label: object) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1, 2]", "utf-8")
    assert read_example(path, COLUMNS, text).label == label


def test_a_file_is_explained_from_python_as_well(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    path.write_text("[1, 1, 1, 1]", "utf-8")
    rows = ExampleSet(Rows(), "rows")
    subject = explain.load(build_sum(), dataset=rows)
    found = explain.attribute(
        subject, explain.read_example(str(path), rows), "pred", method="occlusion", check=False
    )
    assert found.answer.startswith('row.json is called "high"')
    with pytest.raises(UsageError, match=r"has no example '.*row.json'; `telemetry evaluate`"):
        explain.attribute(subject, str(path), "pred")
    with pytest.raises(UsageError, match=r"has no example 'gone.json', and there is no such file"):
        explain.attribute(subject, "gone.json", "pred")
