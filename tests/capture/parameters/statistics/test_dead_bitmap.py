"""Windows of dead units: what a row says while one fills, and when the next begins."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.capture.parameters.statistics.dead_bitmap import (
    STATISTIC,
    WINDOW_POSITIONS,
    WINDOW_SAMPLES,
    DeadWindows,
)
from telemetry.format.tables import table

SITE = ("net.1", "output")


def fired(*units: int) -> np.ndarray:
    return np.array(units, dtype=bool)


def test_its_columns_are_columns_of_module_stats() -> None:
    assert set(STATISTIC.columns) <= {column.name for column in table("module_stats").columns}
    assert STATISTIC.id == "dead_bitmap"


def test_a_unit_that_fired_once_in_the_window_is_alive() -> None:
    windows = DeadWindows()
    first = windows.add(SITE, fired(1, 0, 0), 64)
    second = windows.add(SITE, fired(0, 1, 0), 64)
    assert (first.n_dead, second.n_dead) == (2, 1)
    assert second.bitmap == bytes([0b100])


def test_a_window_says_512_or_more_only_in_the_row_that_completes_it() -> None:
    windows = DeadWindows()
    seen = [windows.add(SITE, fired(1, 0), 1000).window_samples for _ in range(2 * WINDOW_SAMPLES)]
    closing = [count >= WINDOW_POSITIONS for count in seen]
    assert closing == ([False] * (WINDOW_SAMPLES - 1) + [True]) * 2
    assert seen[WINDOW_SAMPLES - 1] == 8000


def test_a_window_of_few_positions_goes_on_until_it_has_enough() -> None:
    windows = DeadWindows()
    seen = [windows.add(SITE, fired(1), 32).window_samples for _ in range(17)]
    assert seen == [*range(32, 513, 32), 32]


def test_the_next_window_forgets_who_fired_before() -> None:
    windows = DeadWindows()
    for _ in range(WINDOW_SAMPLES):
        last = windows.add(SITE, fired(1), 64)
    assert last.n_dead == 0
    assert windows.add(SITE, fired(0), 64).n_dead == 1


def test_sites_do_not_share_a_window() -> None:
    windows = DeadWindows()
    windows.add(SITE, fired(1), 64)
    assert windows.add(("net.1", "relu#0"), fired(0), 64).n_dead == 1


def test_a_layer_that_changes_its_width_begins_a_new_window() -> None:
    windows = DeadWindows()
    windows.add(SITE, fired(1, 1), 64)
    wider = windows.add(SITE, fired(0, 0, 1), 64)
    assert (wider.n_dead, wider.window_samples) == (2, 64)


@settings(deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=11, max_size=11), min_size=1, max_size=8))
def test_dead_is_what_no_sample_of_the_window_fired(samples: list[list[bool]]) -> None:
    windows = DeadWindows()
    for sample in samples:
        units = windows.add(SITE, np.array(sample), 64)
    expected = [i for i in range(11) if not any(sample[i] for sample in samples)]
    bits = units.bitmap or bytes(2)
    assert [i for i in range(11) if bits[i // 8] >> (i % 8) & 1] == expected
    assert units.n_dead == len(expected)
    assert (units.bitmap is None) == (not expected)
