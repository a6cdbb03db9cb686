import math

import numpy as np
import pyarrow as pa
import pytest

from telemetry.diagnose.judgement.baselines import baseline
from telemetry.diagnose.judgement.progress import Baseline
from telemetry.store.sessions.rows import Rows

COLUMNS = {
    "step": pa.int64(),
    "site": pa.string(),
    "loss_op": pa.string(),
    "forwards": pa.int64(),
    "n": pa.int64(),
    "sum": pa.float64(),
    "sumsq": pa.float64(),
    "min": pa.float64(),
    "max": pa.float64(),
    "absmax": pa.float64(),
    "n_units": pa.int64(),
    "n_profile": pa.int64(),
    "profile": pa.binary(),
}


def rows(*records: dict[str, object]) -> Rows:
    told = [{"forwards": 1, **record} for record in records]
    return Rows(
        pa.table({k: pa.array([r.get(k) for r in told], type=t) for k, t in COLUMNS.items()})
    )


def classes(counts: list[float], *, absmax: float = 0.4, op: str = "cross_entropy") -> list[dict]:
    n, profile = len(counts), np.array(counts, dtype=np.float32).tobytes()
    common = {"step": 0, "loss_op": op, "n_units": n, "n_profile": n, "profile": profile}
    return [
        {**common, "site": "logits", "n": 64 * n, "sumsq": 1.0, "sum": 0.0, "absmax": absmax},
        {**common, "site": "target", "n": 64},
    ]


def values(
    target: np.ndarray, answer: np.ndarray | None = None, op: str = "mse_loss"
) -> list[dict]:
    found = [
        {
            "step": 0, "site": "target", "loss_op": op, "n": target.size,
            "sum": target.sum(), "sumsq": (target**2).sum(), "absmax": np.abs(target).max(),
            "min": target.min(), "max": target.max(),
        }
    ]  # fmt: skip
    if answer is not None:
        found.append(
            {
                "step": 0, "site": "output", "n": answer.size, "sum": answer.sum(),
                "sumsq": (answer**2).sum(), "absmax": np.abs(answer).max(),
            }
        )  # fmt: skip
    return found


def levels(records: list[dict], loss: float, samples: float = 64.0, calls: float = 1.0) -> Baseline:
    return baseline(
        rows(*records), np.array([0]), np.array([loss]), np.array([samples]), np.array([calls])
    )


def test_ten_balanced_classes_cost_their_logarithm() -> None:
    found = levels(classes([64.0] * 10), 2.31)
    assert found.naive == pytest.approx(math.log(10))
    assert found.constant == pytest.approx(math.log(10), rel=0.01)


def test_rare_classes_cost_their_entropy() -> None:
    found = levels(classes([950.0, 50.0]), 0.7)
    assert found.naive == pytest.approx(math.log(2))
    assert found.constant == pytest.approx(0.199, rel=0.01)


def test_few_labels_give_no_entropy() -> None:
    assert levels(classes([1.0] * 10), 2.31).constant is None


def test_a_sum_over_the_batch_is_recognised() -> None:
    found = levels(classes([64.0] * 10), 64 * 2.31)
    assert found.naive == pytest.approx(64 * math.log(10))


def test_a_weighted_loss_has_no_level() -> None:
    found = levels(classes([64.0] * 10), 1e-3 * 2.31)
    assert found.naive is None
    assert "neither the mean nor the sum of" in found.reason


def test_minus_the_loss_is_recognised() -> None:
    assert levels(classes([64.0] * 10), -2.31).negated
    assert not levels(classes([64.0] * 10), -900.0).negated


def test_large_logits_allow_a_large_mean() -> None:
    assert levels(classes([64.0] * 10, absmax=300.0), 147.0).naive == pytest.approx(math.log(10))


def test_squared_error_has_the_levels_of_its_target() -> None:
    target = 3 + np.random.default_rng(0).standard_normal(640)
    answer = np.zeros(640) + 0.01
    found = levels(values(target, answer), float((target**2).mean()))
    assert found.naive == pytest.approx((target**2).mean())
    assert found.constant == pytest.approx(target.var(), rel=1e-6)


def test_summed_squared_error_is_recognised() -> None:
    target = np.random.default_rng(0).standard_normal(640)
    answer = np.full(640, 0.01)
    summed = levels(values(target, answer), float((target**2).sum()))
    assert summed.naive == pytest.approx((target**2).sum())
    per_sample = levels(values(target, answer), float((target**2).sum() / 64))
    assert per_sample.naive == pytest.approx((target**2).sum() / 64)


def test_an_exploded_answer_keeps_the_level_of_the_target() -> None:
    target = np.random.default_rng(0).standard_normal(640)
    answer = np.full(640, 1000.0)
    assert levels(values(target, answer), 1e6).naive == pytest.approx((target**2).mean())


def test_without_the_answer_a_start_near_the_level_is_believed() -> None:
    target = np.random.default_rng(0).standard_normal(640)
    assert levels(values(target), 1.2).naive is not None
    assert levels(values(target), 12.0).naive is None


@pytest.mark.parametrize(
    ("op", "low", "high"),
    [("binary_cross_entropy_with_logits", -0.2, 0.2), ("binary_cross_entropy", 0.45, 0.55)],
)
def test_binary_losses_cost_ln_2(op: str, low: float, high: float) -> None:
    records = [
        {
            "step": 0, "site": "logits", "loss_op": op, "n": 640, "sum": 0.0, "sumsq": 6.0,
            "min": low, "max": high, "absmax": 0.2, "n_units": 2,
        },
        {"step": 0, "site": "target", "loss_op": op, "n": 640, "sum": 64.0, "sumsq": 64.0},
    ]  # fmt: skip
    found = levels(records, 0.69)
    assert found.naive == pytest.approx(math.log(2))
    assert found.constant == pytest.approx(0.325, rel=0.01)


def test_other_and_several_losses_have_no_level() -> None:
    target = np.ones(64)
    assert "kl_div" in levels(values(target, op="kl_div"), 0.5).reason
    both = [*classes([64.0] * 10), *values(target)]
    assert levels(both, 2.3).reason == "several losses"
    assert "no known loss" in levels([], 2.3).reason


def test_a_loss_that_is_not_finite_gives_no_level() -> None:
    assert levels(classes([64.0] * 10), float("nan")).naive is None


def test_a_loss_of_a_thousandth_is_no_mean_whatever_the_logits_allow_on_one_side() -> None:
    """Centred logits within 1.5 give a mean of at least ln 10 - 1.5, for lse is at least ln 10."""
    records = classes([6.4] * 10, absmax=1.5)
    found = levels(records, 2.3e-3)
    assert found.naive is None
    assert "neither the mean nor the sum of cross_entropy" in found.reason
    plain = levels(records, 0.85)
    assert plain.naive == pytest.approx(math.log(10))


def test_a_sum_over_each_of_four_accumulated_batches_has_the_level_of_one() -> None:
    found = levels(classes([6.4] * 10), 37.0, calls=4.0)
    assert found.naive == pytest.approx(16 * math.log(10))
    assert levels(classes([6.4] * 10), 37.0).naive is None


def test_an_answer_too_large_to_square_bounds_nothing() -> None:
    records = classes([6.4] * 10, absmax=1e200)
    assert levels([{**r, "sumsq": math.inf} for r in records], 2.3).naive is None


def test_a_sum_over_the_classes_that_count_leaves_the_padding_out() -> None:
    """Of 64 labels 40 are padding: the sum is that of 24."""
    records = classes([6.0] * 4)
    found = levels(records, 24 * 1.4)
    assert found.naive == pytest.approx(24 * math.log(4))


def test_of_two_units_the_one_is_taken_that_a_new_network_has() -> None:
    """Two backward passes of 32 samples each; wide logits would allow both units."""
    records = [{**r, "forwards": 2} for r in classes([8.0] * 4, absmax=1.2)]
    each = levels(records, 32 * 1.4, calls=2.0)
    assert each.naive == pytest.approx(32 * math.log(4))
    total = levels(records, 64 * 1.4, calls=2.0)
    assert total.naive == pytest.approx(64 * math.log(4))


def test_of_two_units_the_one_is_taken_in_which_answers_have_nothing_to_do_with_the_target() -> (
    None
):
    draw = np.random.default_rng(0)
    target, answer = draw.standard_normal(512), 0.8 * draw.standard_normal(512)
    mean = float(((answer - target) ** 2).mean())
    each = levels(values(target, answer), 128 * mean, samples=512.0, calls=4.0)
    assert each.naive == pytest.approx((target**2).sum() / 4)
    total = levels(values(target, answer), 512 * mean, samples=512.0, calls=4.0)
    assert total.naive == pytest.approx((target**2).sum())


@pytest.mark.parametrize("op", ["huber_loss", "smooth_l1_loss"])
def test_a_huber_loss_has_the_level_of_gaussian_targets(op: str) -> None:
    """Of a standard Gaussian: half its square inside +-1 (0.0994), the rest linear (0.3253)."""
    target = np.random.default_rng(0).standard_normal(4096)
    target = 2 + (target - target.mean()) / target.std()
    loss = float(np.where(abs(target) < 1, target**2 / 2, abs(target) - 0.5).mean())
    found = levels(values(target, np.full(4096, 1e-3), op=op), loss, samples=4096.0)
    assert found.constant == pytest.approx(0.4247, rel=1e-3)
    assert found.naive == pytest.approx(loss, rel=0.05)


def test_a_huber_loss_of_targets_that_are_all_as_large_is_known_exactly() -> None:
    """Of targets -3 and 3: |3| - 1/2."""
    target = np.tile([-3.0, 3.0], 320)
    found = levels(values(target, np.full(640, 1e-3), op="huber_loss"), 2.5)
    assert (found.naive, found.constant) == (pytest.approx(2.5), pytest.approx(2.5))


def test_a_huber_loss_of_another_width_has_no_level() -> None:
    """A width of 0.1 divided by it, as smooth_l1_loss does, is nearly the absolute error."""
    target = np.random.default_rng(0).standard_normal(4096)
    loss = float(np.abs(target).mean()) - 0.05
    found = levels(values(target, np.full(4096, 1e-3), op="smooth_l1_loss"), loss)
    assert found.naive is None
