import numpy as np

from telemetry.compare.curves.align import Series
from telemetry.compare.diff.metric_curves import MetricCurves, cut, seed_pairs


def ending(step: int, value: float = 0.0) -> Series:
    return Series(steps=np.arange(step + 1), values=np.full(step + 1, value))


def seeded(*seeds: int | None) -> MetricCurves:
    return MetricCurves(curves=tuple(ending(3, float(seed or 0)) for seed in seeds), seeds=seeds)


def test_runs_of_common_seeds_stand_in_one_order() -> None:
    pairs = seed_pairs(seeded(4, 1, 2, 3), seeded(3, 9, 4))
    assert pairs is not None
    assert [side.seeds for side in pairs] == [(4, 3), (4, 3)]
    assert [[c.values[0] for c in side.curves] for side in pairs] == [[4.0, 3.0], [4.0, 3.0]]


def test_unknown_and_repeated_seeds_make_no_pairs() -> None:
    assert seed_pairs(seeded(1, 1), seeded(1, 2)) is None
    assert seed_pairs(seeded(1, None), seeded(1, 2)) is None
    assert seed_pairs(seeded(1), seeded(2)) is None
    assert seed_pairs(MetricCurves(curves=(ending(3),)), seeded(1)) is None


def test_sides_end_where_the_shortest_run_ends() -> None:
    left, right = cut(
        MetricCurves(curves=(ending(9), ending(5))), MetricCurves(curves=(ending(7),))
    )
    assert [len(curve) for curve in (*left.curves, *right.curves)] == [6, 6, 6]
