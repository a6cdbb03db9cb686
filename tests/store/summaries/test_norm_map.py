from pathlib import Path

import numpy as np
from judged_runs import Chain, learning

from telemetry.store.store import Store
from telemetry.store.summaries.norm_map import norm_map


def test_a_layer_has_the_root_of_the_mean_square_of_each_stretch(tmp_path: Path) -> None:
    run = Chain(tmp_path).layers(2)
    run.losses(learning(40), every=10)
    for step, norms in ((0, [3.0, 1.0]), (10, [4.0, 1.0]), (30, [1.0, 2.0])):
        run.gradients(step, norms)
    run.write()
    store = Store.open(tmp_path)
    (found,) = store.runs()
    with store.session([found]) as session:
        norms = norm_map(session, found, n_steps=40, points=2)
        finer = norm_map(session, found, n_steps=40, points=4)
        whole = norm_map(session, found, n_steps=40, points=1000)
    assert norms.layers == ("l0", "l1")
    np.testing.assert_allclose(norms.norms, [[np.sqrt(12.5), 1.0], [1.0, 2.0]])
    assert np.isnan(finer.norms[:, 2]).all()
    assert whole.norms.shape == (2, 40)


def test_a_layer_with_an_element_that_is_not_finite_is_infinite(tmp_path: Path) -> None:
    run = Chain(tmp_path).layers(1)
    run.losses(learning(2))
    run.gradients(0, [1.0])
    run.norm("l0.weight", "gradient", 1, 1.0, n=64, n_nan=1)
    run.write()
    store = Store.open(tmp_path)
    (found,) = store.runs()
    with store.session([found]) as session:
        norms = norm_map(session, found, n_steps=2, points=2)
    np.testing.assert_allclose(norms.norms, [[1.0, np.inf]])
