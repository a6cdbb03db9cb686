import numpy as np
import pytest

from telemetry.compare.sweep.fanova import Tree, boxes, main_variances, marginals

# Two parameters with two bins each. The root splits on the first; where that is 1, the second
# splits too:            value 2 where first = 0; 4 where (1, 0); 8 where (1, 1).
TREE = Tree(
    left=np.array([1, -1, 3, -1, -1]),
    right=np.array([2, -1, 4, -1, -1]),
    feature=np.array([0, -2, 1, -2, -2]),
    threshold=np.array([0.5, -2, 0.5, -2, -2]),
    value=np.array([0.0, 2.0, 0.0, 4.0, 8.0]),
)
IN_ORDER = np.array([[0, 1], [0, 1]])
EVEN = np.full((2, 2), 0.5)


def test_the_leaves_are_boxes() -> None:
    low, high, value = boxes(TREE, n_parameters=2, n_bins=2)
    assert value.tolist() == [2.0, 4.0, 8.0]
    assert low.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert high.tolist() == [[0, 1], [1, 0], [1, 1]]


def test_marginals_are_means_over_the_other_parameters() -> None:
    found = marginals(TREE, IN_ORDER, EVEN)
    assert found.tolist() == [[2.0, 6.0], [3.0, 5.0]]


def test_rare_bins_weigh_less() -> None:
    found = marginals(TREE, IN_ORDER, np.array([[0.75, 0.25], [0.5, 0.5]]))
    assert found[0].tolist() == [2.0, 6.0]
    assert found[1].tolist() == pytest.approx([0.75 * 2 + 0.25 * 4, 0.75 * 2 + 0.25 * 8])


def test_the_order_in_which_a_tree_saw_the_categories_does_not_matter() -> None:
    flipped = marginals(TREE, np.array([[1, 0], [0, 1]]), EVEN)
    assert flipped.tolist() == [[6.0, 2.0], [3.0, 5.0]]


def test_the_variance_of_a_marginal_is_weighted() -> None:
    found = marginals(TREE, IN_ORDER, EVEN)
    assert main_variances(found, EVEN).tolist() == [4.0, 1.0]  # means 2, 6 and 3, 5 around 4
    rare = np.array([[0.75, 0.25], [0.5, 0.5]])
    assert main_variances(found, rare).tolist() == [3.0, 1.0]  # around 3


def test_bins_that_a_parameter_lacks_belong_to_no_box() -> None:
    positions = np.array([[0, 1, -1], [0, 1, -1]])
    frequencies = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    found = marginals(TREE, positions, frequencies)
    assert found[0].tolist() == [2.0, 6.0, 0.0]
    assert main_variances(found, frequencies).tolist() == [4.0, 1.0]
