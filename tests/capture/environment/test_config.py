import argparse
import enum
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.capture.environment.config import (
    HIDDEN,
    SIZE_LIMIT_BYTES,
    TRUNCATED_KEY,
    flatten_config,
)
from telemetry.json_values import dumps

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.lists(st.integers())
)
NESTED = st.recursive(
    LEAVES, lambda inner: st.dictionaries(st.text() | st.integers(), inner), max_leaves=8
)


class Scheme(enum.Enum):
    COSINE = "cosine"


@dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass
class Config:
    optimizer: Optimizer = field(default_factory=Optimizer)
    layers: int = 3


class Settings:
    def __init__(self) -> None:
        self.lr = 0.1
        self._cache = object()


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError


class HostileMapping(OrderedDict[str, object]):
    def items(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]
        yield "lr", 0.1
        raise RuntimeError("missing value")


def test_nested_names_become_dotted_keys() -> None:
    config = {"optimizer": {"name": "adam", "lr": 1e-3}, "seed": 7, "amp": True, "note": None}
    assert flatten_config(config) == {
        "optimizer.name": "adam",
        "optimizer.lr": 1e-3,
        "seed": 7,
        "amp": True,
        "note": None,
    }


@pytest.mark.parametrize(
    ("config", "flat"),
    [
        (None, {}),
        ({}, {}),
        (Config(), {"optimizer.lr": 0.1, "optimizer.betas": "[0.9, 0.999]", "layers": 3}),
        (argparse.Namespace(lr=0.1, data=Path("x/y")), {"lr": 0.1, "data": "x/y"}),
        (Settings(), {"lr": 0.1}),
        ("just text", {"config": "just text"}),
        (Config, {"config": "Config"}),
    ],
)
def test_whatever_holds_a_configuration_is_read(config: object, flat: dict[str, object]) -> None:
    assert flatten_config(config) == flat


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Scheme.COSINE, "cosine"),
        ([1, "a", None], "[1, a, None]"),
        ({3, 1}, "[1, 3]"),
        ([], "[]"),
        ({}, "{}"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (torch.tensor(2.0), 2.0),
        (torch.zeros(2, 3), "Tensor[2, 3]"),
        (np.zeros(4), "ndarray[4]"),
        (torch.complex(torch.tensor(1.0), torch.tensor(2.0)), "(1+2j)"),
        (torch.nn.ReLU, "ReLU"),
        (len, "len"),
        (object(), "object"),
        (b"raw", "b'raw'"),
        (10**30, hex(10**30)),
        (True, True),
    ],
)
def test_a_value_keeps_its_meaning(value: object, expected: object) -> None:
    flat = flatten_config({"key": value})["key"]
    assert flat == expected
    assert type(flat) is type(expected)


def test_functions_and_objects_are_named_without_their_address() -> None:
    flat = flatten_config({"f": lambda: None, "o": Settings()})
    assert "0x" not in dumps(flat)


def test_long_texts_lists_and_keys_are_cut() -> None:
    flat = flatten_config({"k" * 9999: 1, "text": "x" * 9999, "list": list(range(9999))})
    assert max(len(key) for key in flat) == 200
    assert len(str(flat["text"])) == 500
    assert str(flat["list"]).endswith(", …]")


def test_secrets_are_hidden_and_hyperparameters_are_not() -> None:
    flat = flatten_config(
        {
            "wandb": {"api_key": "abc", "secret": "abc"},
            "hf_token": "abc",
            "password": "abc",
            "max_tokens": 512,
            "pad_token": "<pad>",
            "key_dim": "64",
        }
    )
    assert [key for key, value in flat.items() if value == HIDDEN] == [
        "wandb.api_key",
        "wandb.secret",
        "hf_token",
        "password",
    ]
    assert "abc" not in dumps(flat)


def test_a_huge_configuration_is_cut_and_says_how_much_is_missing() -> None:
    flat = flatten_config({f"key{i}": "x" * 400 for i in range(5000)})
    left_out = flat[TRUNCATED_KEY]
    assert isinstance(left_out, int)
    assert left_out + len(flat) - 1 == 5000
    assert len(dumps(flat)) < 1.2 * SIZE_LIMIT_BYTES


def test_a_mapping_that_contains_itself_ends() -> None:
    config: dict[str, object] = {"lr": 0.1}
    config["self"] = config
    assert flatten_config(config)["lr"] == 0.1


def test_what_cannot_be_described_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    assert flatten_config({"odd": Hostile(), "lr": 0.1}) == {"odd": "Hostile", "lr": 0.1}
    assert flatten_config(HostileMapping()) == {"lr": 0.1}
    assert "missing value" in caplog.text


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text(), NESTED, max_size=4))
def test_any_configuration_becomes_bounded_json(config: dict[str, object]) -> None:
    flat = flatten_config(config)
    assert len(dumps(flat)) < 1.5 * SIZE_LIMIT_BYTES
    json.loads(dumps(flat))
    for value in flat.values():
        assert value is None or isinstance(value, bool | int | float | str)
