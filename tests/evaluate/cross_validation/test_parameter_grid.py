"""Grids of parameters: read from a file, refused when wrong, made of the advice of a finding."""

from pathlib import Path

import pytest

from telemetry.errors import UsageError
from telemetry.evaluate.cross_validation.parameter_grid import (
    ParameterGrid,
    advised_grid,
    load_grid,
)


def grid_of(tmp_path: Path, text: str) -> ParameterGrid:
    path = tmp_path / "grid.toml"
    path.write_text(text, "utf-8")
    return load_grid(path)


def test_every_combination_is_a_configuration_and_the_first_values_come_first(
    tmp_path: Path,
) -> None:
    text = '[params]\nlr = [0.1, 0.03]\nclip_norm = ["none", 1.0]\n[fixed]\nepochs = 5\n'
    assert grid_of(tmp_path, text).configurations == [
        {"epochs": 5, "lr": 0.1, "clip_norm": "none"},
        {"epochs": 5, "lr": 0.1, "clip_norm": 1.0},
        {"epochs": 5, "lr": 0.03, "clip_norm": "none"},
        {"epochs": 5, "lr": 0.03, "clip_norm": 1.0},
    ]


def test_without_lists_there_is_one_configuration(tmp_path: Path) -> None:
    assert grid_of(tmp_path, "[fixed]\nlr = 0.1\n").configurations == [{"lr": 0.1}]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("lr = [0.1]", "grid.toml: found lr; a grid needs a table [params] with a list for each"),
        ("[params]\nlr = 0.1", "params.lr is 0.1; a grid needs a table [params] with a list"),
        ('[params]\nlr = "0.1"', "params.lr is '0.1'"),
        ("[params]\nlr = []", "params.lr is []"),
        ("[params]\nlr = [0.1, 0.1]", "params.lr contains a value twice"),
        ("[params]\nlr = [nan]", "lr is nan; write a text that your function understands"),
        ("[params]\nday = [2026-01-02]", "use numbers, texts or lists"),
        ("[params]\nseed = [1, 2]", "seed cannot be a parameter: every fold has its own"),
        ("[params]\nlr = [0.1]\n[fixed]\nlr = 0.1", "lr is both in params and fixed"),
        ("params = 3", "no tables; a grid needs"),
        ("[params", "not TOML"),
    ],
)
def test_a_wrong_grid_is_named_with_its_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        grid_of(tmp_path, text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.toml: the grid cannot be read"):
        load_grid(tmp_path / "absent.toml")


def test_an_exploding_gradient_asks_for_clipping_and_lower_learning_rates() -> None:
    given = ParameterGrid(fixed={"lr": 0.3, "epochs": 5})
    grid = advised_grid(given, "exploding_gradient")
    assert grid.params == {"clip_norm": ["none", 1.0], "lr": [0.3, 0.09, 0.03]}
    assert grid.fixed == {"epochs": 5}
    assert grid.configurations[0] == {"epochs": 5, "clip_norm": "none", "lr": 0.3}


def test_clipping_alone_is_tried_where_the_learning_rate_is_not_known() -> None:
    grid = advised_grid(ParameterGrid(fixed={"clip_norm": 5.0}), "exploding_gradient")
    assert grid.params == {"clip_norm": [5.0, "none", 1.0]}


def test_the_users_own_list_is_kept() -> None:
    given = ParameterGrid(params={"clip_norm": [0.5, 2.0]}, fixed={"lr": 1})
    grid = advised_grid(given, "exploding_gradient")
    assert grid.params == {"clip_norm": [0.5, 2.0], "lr": [1, 0.3, 0.1]}


def test_a_vanishing_gradient_asks_for_what_the_function_has_a_name_for() -> None:
    given = ParameterGrid(fixed={"activation": "sigmoid", "init": "he", "lr": 0.1})
    grid = advised_grid(given, "vanishing_gradient")
    assert grid.params == {"init": ["he", "xavier"], "activation": ["sigmoid", "relu", "gelu"]}
    assert grid.fixed == {"lr": 0.1}


@pytest.mark.parametrize(
    ("detector", "complaint"),
    [
        (
            "loss_spike",
            "a grid can be derived only from exploding_gradient and vanishing_gradient",
        ),
        ("vanishing_gradient", "set those of init"),
    ],
)
def test_advice_without_a_grid_is_refused(detector: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        advised_grid(ParameterGrid(fixed={"lr": 0.1}), detector)
