from pathlib import Path

import numpy as np
from synthetic import RunBuilder

from telemetry.store.sessions.session import Session
from telemetry.store.store import Store
from telemetry.store.summaries.layer_maps import dead_unit_map, update_ratio_map
from telemetry.store.summaries.weight_spreads import weight_spreads


def _store(tmp_path: Path) -> Store:
    builder = RunBuilder(tmp_path).losses([1.0] * 40, every=10)
    builder.module("relu", type_="ReLU", depth=1, role="activation")
    builder.parameter("b.weight", shape=(2, 8), depth=0).parameter(
        "a.weight", shape=(4, 8), depth=2
    )
    for step in (0, 10, 20, 30):
        for name, n in (("b.weight", 16), ("a.weight", 32)):
            update = 0.01 * (1 + step / 10)
            builder.tensor(name, "weight", step, np.full(n, 2.0**-3, dtype=np.float32))
            builder.tensor(name, "update", step, np.full(n, update / 8, dtype=np.float32))
        dead = bytes([240 if step >= 20 else 0])
        n_dead = 4 * (step >= 20)
        builder.activation("relu", "output", step, n_units=8, n_dead=n_dead, dead=dead)
    builder.tensor("b.weight", "gradient", 30, np.full(16, np.nan, dtype=np.float32))
    builder.write()
    return Store.open(tmp_path)


def test_ratios_are_medians_of_stretches_in_the_order_of_the_forward_pass(tmp_path: Path) -> None:
    store = _store(tmp_path)
    run = store.select("latest")
    with store.session([run]) as session:
        found = update_ratio_map(session, run, n_steps=40, points=2)
    assert found.labels == ("b.weight", "a.weight")
    assert found.sizes == (16, 32)
    np.testing.assert_allclose(found.values[1], [0.015, 0.035], rtol=1e-5)
    assert found.values[0, 1] == np.inf  # a gradient there was not finite


def test_shares_of_dead_units_are_means_and_gaps_are_nan(tmp_path: Path) -> None:
    store = _store(tmp_path)
    run = store.select("latest")
    with store.session([run]) as session:
        found = dead_unit_map(session, run, n_steps=40, points=8)
    assert found.labels == ("relu",)
    np.testing.assert_allclose(found.values[0, ::2], [0, 0, 0.5, 0.5])
    assert np.isnan(found.values[0, 1::2]).all()


def test_weights_are_spread_over_octaves_at_steps_from_first_to_last(tmp_path: Path) -> None:
    store = _store(tmp_path)
    run = store.select("latest")

    def spreads(session: Session, most_parameters: int) -> list[tuple[str, list[int]]]:
        found = weight_spreads(session, run, most_steps=3, most_parameters=most_parameters)
        assert all(one.octaves == ((-3, 1.0),) for each in found for one in each.spreads)
        return [(each.parameter, [one.step for one in each.spreads]) for each in found]

    with store.session([run]) as session:
        assert spreads(session, 2) == [("b.weight", [0, 20, 30]), ("a.weight", [0, 20, 30])]
        assert spreads(session, 1) == [("a.weight", [0, 20, 30])]
