import numpy as np
import pytest

from telemetry.compare.fanova import (
    Tree,
    averaged,
    boxes,
    main_variances,
    marginals,
    pair_variances,
)

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
    assert found.single.tolist() == [[2.0, 6.0], [3.0, 5.0]]
    assert found.pair[0, :, 1, :].tolist() == [[2.0, 2.0], [4.0, 8.0]]


def test_rare_bins_weigh_less() -> None:
    found = marginals(TREE, IN_ORDER, np.array([[0.75, 0.25], [0.5, 0.5]]))
    assert found.single[0].tolist() == [2.0, 6.0]
    assert found.single[1].tolist() == pytest.approx([0.75 * 2 + 0.25 * 4, 0.75 * 2 + 0.25 * 8])


def test_the_order_in_which_a_tree_saw_the_categories_does_not_matter() -> None:
    flipped = marginals(TREE, np.array([[1, 0], [0, 1]]), EVEN)
    assert flipped.single.tolist() == [[6.0, 2.0], [3.0, 5.0]]


def test_variances_of_effects_and_of_what_is_beyond_them_add_up() -> None:
    found = marginals(TREE, IN_ORDER, EVEN)
    main = main_variances(found.single, EVEN)
    pairs = pair_variances(found, EVEN)
    assert main.tolist() == [4.0, 1.0]  # means 2, 6 and 3, 5 around 4
    assert pairs[0, 1] == pairs[1, 0] == 1.0  # 2 2 4 8 less the effects leaves -+-+ of size 1
    assert np.diag(pairs).tolist() == [0.0, 0.0]
    cells = found.pair[0, :, 1, :]
    assert float(np.var(cells)) == pytest.approx(float(main.sum()) + pairs[0, 1])


def test_bins_that_a_parameter_lacks_belong_to_no_box() -> None:
    positions = np.array([[0, 1, -1], [0, 1, -1]])
    frequencies = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    found = marginals(TREE, positions, frequencies)
    assert found.single[0].tolist() == [2.0, 6.0, 0.0]
    assert main_variances(found.single, frequencies).tolist() == [4.0, 1.0]


def test_trees_are_averaged_before_their_variance_is_taken() -> None:
    one = marginals(TREE, IN_ORDER, EVEN)
    other = marginals(TREE, np.array([[1, 0], [1, 0]]), EVEN)
    assert main_variances(averaged([one, other]).single, EVEN).tolist() == [0.0, 0.0]
