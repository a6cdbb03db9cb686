"""The configuration of a script: what it was called with and what it holds."""

import argparse
import dataclasses
import gc
import sys
import weakref
from argparse import ArgumentParser
from collections.abc import Callable

import click
import pytest
from torch import nn

from telemetry.capture.auto.command_line import CommandLine
from telemetry.capture.auto.script_config import script_config


@dataclasses.dataclass
class Part:
    width: int = 8


@dataclasses.dataclass
class Config:
    lr: float = 0.1
    part: Part = dataclasses.field(default_factory=Part)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Callable[..., CommandLine]:
    """`called("--lr", "1")`: a script's command line, whose parsers are watched."""
    for owner, name in (
        (ArgumentParser, "parse_known_args"),
        (ArgumentParser, "parse_known_intermixed_args"),
        (click.Command, "invoke"),
    ):
        monkeypatch.setattr(owner, name, vars(owner)[name])  # is put back at the end

    def begin(*words: str) -> CommandLine:
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        command_line = CommandLine()
        command_line.watch_argparse(argparse)
        command_line.watch_click(click.core)
        return command_line

    return begin


def parser() -> ArgumentParser:
    made = ArgumentParser()
    made.add_argument("-l", "--lr", type=float, default=0.5)
    made.add_argument("--width", type=int, default=4)
    return made


def test_without_a_parser_the_words_are_read_as_they_are(
    called: Callable[..., CommandLine],
) -> None:
    assert script_config(called("--lr", "0.1", "data")) == {"lr": 0.1, "arguments": "data"}


def test_a_parser_gives_its_defaults_and_words_that_it_left_over_are_kept(
    called: Callable[..., CommandLine],
) -> None:
    command_line = called("-l", "1", "--other", "x")
    parser().parse_known_args()
    assert script_config(command_line) == {"lr": 1.0, "width": 4, "other": "x"}


def test_a_subcommand_and_several_parsers_are_one_configuration(
    called: Callable[..., CommandLine],
) -> None:
    command_line = called("fit", "--epochs", "3")
    first = ArgumentParser(add_help=False)
    first.add_argument("--device", default="cpu")
    _, rest = first.parse_known_args()
    second = parser()
    second.add_subparsers(dest="verb").add_parser("fit").add_argument("--epochs", type=int)
    second.parse_args(rest)
    assert script_config(command_line) == {
        "device": "cpu",
        "lr": 0.5,
        "width": 4,
        "verb": "fit",
        "epochs": 3,
    }


def test_a_parser_of_other_words_is_none_of_the_script(
    called: Callable[..., CommandLine],
) -> None:
    command_line = called("--fast")
    parser().parse_args(["--lr", "7"])
    assert script_config(command_line) == {"fast": True}
    parser().parse_args([])
    assert script_config(command_line) == {"lr": 0.5, "width": 4}


def test_an_error_of_a_parser_shows_no_frame_of_telemetry(
    called: Callable[..., CommandLine],
) -> None:
    def broken(_: str) -> float:
        raise KeyError("on purpose")

    called("--lr", "1")
    failing = ArgumentParser()
    failing.add_argument("--lr", type=broken)
    with pytest.raises(KeyError) as caught:
        failing.parse_args()
    assert not [entry for entry in caught.traceback if "telemetry/capture" in str(entry.path)]


def test_the_outermost_dataclass_named_like_a_configuration_counts(
    called: Callable[..., CommandLine],
) -> None:
    command_line = called("--lr", "3")
    parser().parse_args()

    def train(config: Part) -> dict[str, object]:
        assert config.width == 2
        return script_config(command_line)

    def main() -> dict[str, object]:
        cfg = Config(part=Part(width=2))
        something = Part(width=9)
        assert something
        return train(cfg.part)

    assert main() == {"lr": 3.0, "width": 4, "part": Part(width=2)}


def test_a_class_or_a_dataclass_of_another_name_is_no_configuration(
    called: Callable[..., CommandLine],
) -> None:
    config = Config
    sample = Config(lr=7)
    assert script_config(called()) == {}
    assert config
    assert sample


def test_the_variables_of_a_function_live_no_longer_than_without(
    called: Callable[..., CommandLine],
) -> None:
    command_line = called()

    def train(config: Config) -> "weakref.ref[nn.Module]":
        batch = nn.Linear(2, 2)
        seen = weakref.ref(batch)
        assert script_config(command_line) == {"lr": 0.1, "part": config.part}
        del batch
        gc.collect()
        assert seen() is None
        assert config.lr == 0.1
        return seen

    train(Config())
