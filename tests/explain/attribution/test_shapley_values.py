"""Shapley values of games that are known by hand."""

import pytest

from telemetry.explain.attribution.methods import every_set, shapley_values

pytestmark = pytest.mark.torch


def test_shapley_values_share_what_players_do_together() -> None:
    """The first two bring 6 together and the third 3 alone; then three that need each other."""
    sets = every_set(3)
    together = 6.0 * (sets[:, 0] & sets[:, 1]) + 3.0 * sets[:, 2]
    assert shapley_values(together).tolist() == pytest.approx([3.0, 3.0, 3.0])
    assert shapley_values(6.0 * sets.all(1)).tolist() == pytest.approx([2.0, 2.0, 2.0])
    # One player who needs either of two others: 1 * 2/3, 1/6, 1/6, by their six orders.
    gloves = 1.0 * (sets[:, 0] & (sets[:, 1] | sets[:, 2]))
    assert shapley_values(gloves).tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6])
