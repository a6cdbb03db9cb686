"""What the views say about known rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import RunBuilder, tensor_id

from telemetry.format import histograms
from telemetry.store.sessions.rows import Rows
from telemetry.store.store import Store

ID = "20260102-030405-aaaaaa"


def query(store: Path, sql: str, **options: bool) -> Rows:
    opened = Store.open(store)
    with opened.session(opened.runs(), **options) as session:
        return session.query(sql)


def one_parameter(store: Path, **options: int) -> RunBuilder:
    return RunBuilder(store=store, **options).parameter("fc.weight", shape=(4, 16), depth=3)


def test_layers_put_the_kinds_of_a_parameter_side_by_side(tmp_path: Path) -> None:
    builder = one_parameter(tmp_path)
    builder.norm("fc.weight", "gradient", 5, 3.0, n=64)
    builder.norm("fc.weight", "weight", 5, 8.0, n=64)
    builder.norm("fc.weight", "update", 5, 0.2, n=64)
    builder.write()

    (row,) = query(tmp_path, "SELECT * FROM layers").records()

    assert (row["layer"], row["parameter"], row["step"], row["depth"]) == ("fc", "fc.weight", 5, 3)
    assert row["grad_norm"] == pytest.approx(3.0)
    assert row["weight_norm"] == pytest.approx(8.0)
    assert row["update_norm"] == pytest.approx(0.2)
    assert row["update_ratio"] == pytest.approx(0.2 / 8.0)
    assert row["param_id"] == tensor_id("fc.weight", "weight")


def test_the_update_ratio_of_a_zero_weight_uses_the_floor(tmp_path: Path) -> None:
    builder = one_parameter(tmp_path)
    builder.norm("fc.weight", "weight", 0, 0.0, n=64)
    builder.norm("fc.weight", "update", 0, 0.4, n=64)
    builder.write()

    ratio = query(tmp_path, "SELECT update_ratio FROM layers").floats("update_ratio")[0]

    assert ratio == pytest.approx(0.4 / (0.1 * (64 / 16) ** 0.5))


@pytest.mark.parametrize(
    ("provenance", "scale", "expected"),
    [("clipped", 0.5, 6.0), ("raw", 1024.0, 3 / 1024), ("unscaled", 1.0, 3.0), ("raw", None, None)],
)
def test_grad_norm_undoes_clipping_and_loss_scale(
    tmp_path: Path, provenance: str, scale: float | None, expected: float | None
) -> None:
    builder = one_parameter(tmp_path)
    builder.norm("fc.weight", "gradient", 0, 3.0, n=64, provenance=provenance, scale=scale)
    builder.write()

    (row,) = query(tmp_path, "SELECT * FROM layers").records()

    assert row["grad_norm"] == (None if expected is None else pytest.approx(expected))
    assert row["grad_norm_seen"] == pytest.approx(3.0)
    assert row["provenance"] == provenance


def test_the_norm_of_a_sampled_update_is_scaled_to_all_elements(tmp_path: Path) -> None:
    builder = one_parameter(tmp_path)
    builder.norm("fc.weight", "update", 0, 2.0, n=64, n_sampled=16)
    builder.write()

    norm = query(tmp_path, "SELECT update_norm FROM layers").floats("update_norm")[0]

    assert norm == pytest.approx(2.0 * (64 / 16) ** 0.5)


def test_a_gradient_of_none_has_no_norm(tmp_path: Path) -> None:
    builder = one_parameter(tmp_path)
    nothing = dict.fromkeys(("sum", "sumsq", "min", "max", "absmax"))
    builder.norm("fc.weight", "gradient", 0, 1.0, n=64, n_sampled=0, **nothing)
    builder.write()

    (row,) = query(tmp_path, "SELECT * FROM layers").records()

    assert row["grad_norm"] is None
    assert row["grad_zero_share"] is None


def test_ranks_of_a_sharded_parameter_are_merged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=30).astype(np.float32), rng.normal(2, 3, 34).astype(np.float32)]
    for rank, part in enumerate(parts):
        builder = RunBuilder(store=tmp_path, rank=rank)
        builder.parameter("fc.weight", shape=(4, 16), depth=3, sharding="sharded")
        builder.tensor("fc.weight", "gradient", 1, part)
        builder.write()

    (row,) = query(tmp_path, "SELECT * FROM layers").records()
    (point,) = query(tmp_path, "SELECT * FROM tensor_points").records()

    whole = np.concatenate(parts)
    assert row["grad_norm"] == pytest.approx(np.linalg.norm(whole), rel=1e-5)
    assert row["grad_mean"] == pytest.approx(whole.mean(), rel=1e-5)
    assert row["grad_absmax"] == pytest.approx(np.abs(whole).max())
    assert (point["n"], point["n_ranks"]) == (64, 2)


def test_of_a_replicated_parameter_one_rank_counts(tmp_path: Path) -> None:
    values = np.linspace(-1, 2, 64, dtype=np.float32)
    for rank in range(3):
        one_parameter(tmp_path, rank=rank).tensor("fc.weight", "gradient", 1, values).write()

    (row,) = query(tmp_path, "SELECT * FROM layers").records()
    counts = query(tmp_path, "SELECT SUM(count) AS n FROM histograms").floats("n")

    assert row["grad_norm"] == pytest.approx(np.linalg.norm(values), rel=1e-6)
    assert (row["n"], row["n_sampled"]) == (64, 64)
    assert counts[0] == pytest.approx(64, rel=0.045)


@pytest.mark.parametrize("owners", [(0, 1, 0, 1), (0, 0), (0,) * 3])
def test_copies_of_a_shard_count_once_and_missing_ones_are_taken_to_be_alike(
    tmp_path: Path, owners: tuple[int, ...]
) -> None:
    part = np.linspace(-1, 2, 32, dtype=np.float32)
    for rank, owner in enumerate(owners):
        builder = RunBuilder(store=tmp_path, rank=rank)
        builder.parameter("fc.weight", shape=(4, 16), depth=3, sharding="sharded")
        builder.tensor("fc.weight", "gradient", 1, -part if owner else part).write()

    (row,) = query(tmp_path, "SELECT * FROM layers").records()
    (point,) = query(tmp_path, "SELECT * FROM tensor_points").records()

    assert row["grad_norm"] == pytest.approx(np.sqrt(2) * np.linalg.norm(part), rel=1e-6)
    assert (point["n"], point["n_sampled"]) == (64, 64)


def test_ratios_of_shards_are_merged_by_their_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    shards = []
    for rank, n in enumerate((40, 24)):
        update, before, decay, rest = rng.normal(0, 1 + rank, (4, n))
        intended = update + rng.normal(0, 0.1, n)
        shards.append((update, before, decay, rest, intended))
        norms = {
            name: float(np.linalg.norm(value))
            for name, value in zip(
                ("update", "before", "decay", "rest", "intended"), shards[-1], strict=True
            )
        }
        builder = RunBuilder(store=tmp_path, rank=rank)
        builder.parameter("fc.weight", shape=(4, 16), depth=3, sharding="sharded")
        builder.tensor(
            "fc.weight",
            "update",
            1,
            update.astype(np.float32),
            cos_prev=float(update @ before) / norms["update"] / norms["before"],
            previous_norm=norms["before"],
            decay_ratio=norms["decay"] / norms["rest"],
            decay_norm=norms["decay"],
            rest_norm=norms["rest"],
            lost_mass=1 - float(update @ intended) / norms["intended"] ** 2,
            intended_norm=norms["intended"],
        ).write()

    (point,) = query(tmp_path, "SELECT * FROM tensor_points").records()

    update, before, decay, rest, intended = (
        np.concatenate(pair) for pair in zip(*shards, strict=True)
    )
    cosine = update @ before / np.linalg.norm(update) / np.linalg.norm(before)
    assert point["cos_prev"] == pytest.approx(cosine, rel=1e-5)
    ratio = np.linalg.norm(decay) / np.linalg.norm(rest)
    assert point["decay_ratio"] == pytest.approx(ratio, rel=1e-6)
    lost = 1 - update @ intended / (intended @ intended)
    assert point["lost_mass"] == pytest.approx(lost, abs=1e-6)


def test_merging_ranks_and_taking_the_only_rank_give_the_same_rows(tmp_path: Path) -> None:
    builder = one_parameter(tmp_path)
    values = np.linspace(-1, 1, 64, dtype=np.float32)
    extra = {"cos_prev": 0.5, "n_stuck": 3, "rows_equal": False, "dot_grad": -0.1}
    builder.tensor("fc.weight", "gradient", 1, values, **extra)
    builder.tensor("fc.weight", "weight", 1, values * 2, rows_equal=True)
    builder.write()
    alone = query(tmp_path, "SELECT * FROM tensor_points ORDER BY tensor_id").arrow
    # A second run with two ranks makes the general text apply to the first run too.
    for rank in (0, 1):
        other = RunBuilder(store=tmp_path, run="other-run", rank=rank)
        other.parameter("fc.weight", shape=(4, 16), depth=0)
        other.tensor("fc.weight", "gradient", 1, values).write()

    merged = query(
        tmp_path, "SELECT * FROM tensor_points WHERE run <> 'other-run' ORDER BY tensor_id"
    ).arrow

    assert merged.schema == alone.schema
    assert merged.to_pylist() == alone.to_pylist()


def test_the_newest_row_of_a_catalogue_counts(tmp_path: Path) -> None:
    one_parameter(tmp_path).write()
    late = RunBuilder(store=tmp_path).parameter("fc.weight", shape=(4, 16), depth=7)
    late.losses([1.0] * 9).module("fc", depth=7).write()  # a shard of later steps
    resumed = RunBuilder(store=tmp_path, attempt=2).module("fc", depth=8).write()
    assert resumed.is_dir()

    tensors = query(tmp_path, "SELECT tensor_id, depth FROM tensors").records()
    modules = query(tmp_path, "SELECT path, depth FROM modules").records()

    assert len(tensors) == 3
    assert {row["depth"] for row in tensors} == {7}
    assert modules == [{"path": "fc", "depth": 8}]


def test_activations_are_moments_and_shares(tmp_path: Path) -> None:
    builder = RunBuilder(store=tmp_path).module("act", type_="ReLU", role="activation")
    builder.activation(
        "act", "output", 4, n=100, sum=50.0, sumsq=125.0, n_zero=40, n_units=8, n_dead=2,
        n_saturated=4, n_saturated_entries=25, n_nan=1,
    )  # fmt: skip
    builder.activation("act", "empty", 4, n=0)
    builder.write()

    (row,) = query(tmp_path, "SELECT * FROM activations").records()

    assert (row["layer"], row["site"], row["phase"]) == ("act", "output", "train")
    assert row["mean"] == pytest.approx(0.5)
    assert row["std"] == pytest.approx(1.0)
    assert row["zero_share"] == pytest.approx(0.4)
    assert row["dead_share"] == pytest.approx(0.25)
    assert row["saturated_share"] == pytest.approx(0.5)
    assert row["saturated_entry_share"] == pytest.approx(0.25)
    assert row["nonfinite"] == 1


def test_a_site_that_keeps_squares_alone_has_a_root_mean_square_and_no_deviation(
    tmp_path: Path,
) -> None:
    builder = RunBuilder(store=tmp_path).module("fc")
    builder.activation("fc", "output_grad", 4, n=100, sum=None, sumsq=4.0).write()

    (row,) = query(tmp_path, "SELECT mean, std, rms FROM activations").records()

    assert row == {"mean": None, "std": None, "rms": pytest.approx(0.2)}


def test_a_weight_without_a_finite_element_has_no_deviation(tmp_path: Path) -> None:
    builder = one_parameter(tmp_path)
    builder.tensor("fc.weight", "weight", 0, np.full(64, np.nan, dtype=np.float32)).write()

    (row,) = query(tmp_path, "SELECT weight_norm, weight_std, nonfinite FROM layers").records()

    assert row == {"weight_norm": None, "weight_std": None, "nonfinite": 64}


def test_histograms_count_elements_per_octave(tmp_path: Path) -> None:
    values = np.array([0.0, 1.0, 1.5, -3.0, 0.25, 0.0], dtype=np.float32)
    builder = one_parameter(tmp_path).tensor("fc.weight", "gradient", 0, values)
    builder.write()

    rows = query(tmp_path, "SELECT sign, edge, count FROM histograms ORDER BY edge").records()

    assert [(row["edge"], row["count"]) for row in rows] == [(-2.0, 1), (0.25, 1), (1.0, 2)]
    assert rows[0]["sign"] == -1


QUANTILES = {
    "p01": 0.01,
    "p05": 0.05,
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p95": 0.95,
    "p99": 0.99,
}


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=60),
    n_zeros=st.integers(0, 30),
)
def test_quantiles_in_sql_are_those_of_the_histogram(
    values: Sequence[float], n_zeros: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = tmp_path_factory.mktemp("store")
    array = np.array([*values, *([0.0] * n_zeros)], dtype=np.float32)
    one_parameter(store).tensor("fc.weight", "gradient", 0, array).write()

    found = query(store, "SELECT * FROM quantiles").records()

    exponent, counts = histograms.fold(histograms.fields_of(array)[None, :])
    if not counts.sum():
        assert found == [] or all(found[0][name] == 0 for name in QUANTILES)
        return
    decoded = histograms.decode_counts(histograms.encode_counts(counts[0]))
    nonzero = int(np.count_nonzero(array))
    expected = histograms.quantiles(
        int(exponent[0]),
        decoded * nonzero / decoded.sum(),
        n_zero=len(array) - nonzero,
        bounds=(float(array.min()), float(array.max())),
        probabilities=np.array(list(QUANTILES.values())),
    )
    assert [found[0][name] for name in QUANTILES] == pytest.approx(
        expected.tolist(), rel=1e-6, abs=1e-30
    )


def test_quantiles_are_near_the_exact_ones(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(0, 1e-3, 20_000).astype(np.float32)
    builder = RunBuilder(store=tmp_path).parameter("fc.weight", shape=(100, 200), depth=0)
    builder.tensor("fc.weight", "weight", 2, values).write()

    (row,) = query(tmp_path, "SELECT * FROM quantiles").records()

    for name in ("p25", "p50", "p75"):
        exact = np.quantile(values, QUANTILES[name])
        assert row[name] == pytest.approx(exact, abs=0.05e-3)
    for name in ("p01", "p99"):
        assert row[name] == pytest.approx(np.quantile(values, QUANTILES[name]), rel=0.5)
    assert (row["layer"], row["parameter"], row["kind"]) == ("fc", "fc.weight", "weight")


def test_quantiles_of_ranks_with_different_scales_are_ordered(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    parts = [rng.normal(0, 1e-6, 4000), rng.normal(0, 1.0, 4000)]
    for rank, part in enumerate(parts):
        builder = RunBuilder(store=tmp_path, rank=rank)
        builder.parameter("fc.weight", shape=(80, 100), depth=0, sharding="sharded")
        builder.tensor("fc.weight", "weight", 0, part.astype(np.float32)).write()

    (row,) = query(tmp_path, "SELECT * FROM quantiles").records()

    found = [row[name] for name in QUANTILES]
    assert found == sorted(found)
    assert row["p75"] == pytest.approx(0.0, abs=1e-2)
    assert row["p99"] == pytest.approx(np.quantile(np.concatenate(parts), 0.99), rel=0.3)


def test_runs_come_from_the_manifests(tmp_path: Path) -> None:
    builder = RunBuilder(
        store=tmp_path, project="my project", name="naïve 'run'", config={"lr": 0.1}, tags=("a",)
    )
    builder.losses([3.0, 1.0, 2.0]).write()

    (row,) = query(tmp_path, "SELECT * FROM runs").records()

    assert row["project"] == Store.open(tmp_path).runs()[0].ref.project
    assert (row["run"], row["name"], row["status"]) == (ID, "naïve 'run'", "finished")
    assert (row["steps"], row["tags"], row["config"]) == (3, '["a"]', '{"lr": 0.1}')
    assert '"best": 1.0' in str(row["metrics"])
    assert row["n_error"] is None


def test_files_list_the_live_shards(tmp_path: Path) -> None:
    path = RunBuilder(store=tmp_path).losses([1.0] * 7).write()

    (row,) = query(tmp_path, "SELECT * FROM files").records()

    assert (row["table_name"], row["rank"], row["attempt"], row["n_rows"]) == ("steps", 0, 1, 7)
    assert (path / str(row["path"])).stat().st_size == row["n_bytes"]
