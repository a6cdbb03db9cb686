"""leakage."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked
from sketched import Samples, forwards, samples, sketch

from telemetry.diagnose.finding import Finding, NotChecked, Severity

EVALUATIONS = (49, 99, 199, 399)


TRAIN, OTHER = samples(1000, 0), samples(400, 1)


def mixed(n_shared: int, *, seed: int = 5) -> Samples:
    """The other samples and some of training, in any order."""
    both = np.concatenate([OTHER, TRAIN[:n_shared]])
    return np.random.default_rng(seed).permutation(both)


def evaluated(
    run: Chain, parts: Sequence[Samples], *, phase: str = "eval", **of_training: object
) -> Chain:
    """A run that learns, and evaluates these forwards four times."""
    for step, loss in enumerate(learning(400)):
        run.add("steps", step=step, loss=loss, lr=0.1, samples=50, flags=1)
    for step in EVALUATIONS:
        sketch(run, step, "train", [TRAIN], **of_training)  # type: ignore[arg-type]
        sketch(run, step, phase, parts)
    return run


def verdict(run: Chain) -> Finding | NotChecked | None:
    result = diagnosed(run, detectors=["leakage"])
    if "leakage" in result.passed:
        return None
    return (*result.findings, *result.not_checked)[0]


def test_validation_samples_that_are_trained_on_are_found(chain: Chains) -> None:
    result = found(diagnosed(evaluated(chain(2), forwards(mixed(20)))), "leakage")
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(20 / 420)
    assert "about 20 of 420" in result.message
    assert (result.first_step, result.last_step) == (49, 399)


def test_a_fifth_of_the_validation_set_is_an_error(chain: Chains) -> None:
    result = found(diagnosed(evaluated(chain(2), forwards(mixed(150)))), "leakage")
    assert result.severity is Severity.ERROR


def test_one_forward_with_all_of_the_validation_set_is_enough(chain: Chains) -> None:
    assert isinstance(verdict(evaluated(chain(2), [mixed(150)])), Finding)


def test_forwards_of_single_samples_are_put_together(chain: Chains) -> None:
    result = verdict(evaluated(chain(2), forwards(mixed(150), size=1)))
    assert isinstance(result, Finding)


@pytest.mark.parametrize("n_shared", [0, 3])
def test_independent_sets_pass(chain: Chains, n_shared: int) -> None:
    assert verdict(evaluated(chain(2), forwards(mixed(n_shared)))) is None


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
@pytest.mark.parametrize("phase", ["eval", "both"])
def test_evaluating_training_data_beside_a_validation_set_is_healthy(
    chain: Chains, size: int, phase: str
) -> None:
    parts = [*forwards(TRAIN, size), *forwards(OTHER, size)]
    assert verdict(evaluated(chain(2), parts, phase=phase)) is None
    assert verdict(evaluated(chain(2), parts[::-1], phase=phase)) is None


def test_a_small_validation_set_beside_the_training_data_is_one(chain: Chains) -> None:
    parts = [*forwards(TRAIN[:992], 1), *forwards(OTHER[:20], 1)]
    assert verdict(evaluated(chain(2), parts)) is None


@pytest.mark.parametrize("size", [1, 7, 50])
def test_a_part_of_the_training_data_in_forwards_of_its_own_is_information_at_most(
    chain: Chains, size: int
) -> None:
    """Two batches of training, or the places where two ranges of one table overlap."""
    parts = [*forwards(TRAIN[:100], size), *forwards(OTHER, size)]
    result = verdict(evaluated(chain(2), parts))
    assert isinstance(result, Finding)
    assert result.severity is Severity.INFO
    assert "separate forward passes" in result.message
    assert verdict(evaluated(chain(2), parts, phase="both")) is None


def test_all_data_in_one_forward_is_healthy(chain: Chains) -> None:
    assert verdict(evaluated(chain(2), [mixed(len(TRAIN))])) is None
    mostly_trained = np.concatenate([TRAIN, OTHER[:50]])
    assert verdict(evaluated(chain(2), [mostly_trained])) is None


def test_validating_with_the_training_set_is_an_error(chain: Chains) -> None:
    result = verdict(evaluated(chain(2), forwards(TRAIN)))
    assert isinstance(result, Finding)
    assert result.severity is Severity.ERROR
    assert "validated only with samples" in result.message


def test_validating_with_a_part_of_the_training_set_is_an_error(chain: Chains) -> None:
    result = verdict(evaluated(chain(2), forwards(TRAIN[200:300])))
    assert isinstance(result, Finding)
    assert result.severity is Severity.ERROR


def test_a_validation_set_of_which_most_is_trained_on_is_an_error(chain: Chains) -> None:
    mostly_trained = np.concatenate([OTHER[:150], TRAIN[:450]])
    result = verdict(evaluated(chain(2), [mostly_trained]))
    assert isinstance(result, Finding)
    assert result.severity is Severity.ERROR
    assert "75% of the validation samples" in result.message


def test_shared_samples_are_found_beside_an_evaluation_of_the_training_data(chain: Chains) -> None:
    parts = [*forwards(TRAIN), *forwards(mixed(100))]
    result = verdict(evaluated(chain(2), parts, phase="both"))
    assert isinstance(result, Finding)
    assert result.value == pytest.approx(0.2, abs=0.03)
    in_one = [*forwards(TRAIN), mixed(100)]
    assert isinstance(verdict(evaluated(chain(2), in_one, phase="both")), Finding)


def test_training_data_of_which_a_part_is_never_trained_on_are_no_mixture(chain: Chains) -> None:
    """An incomplete last batch is left out of training, and not of the evaluation."""
    parts = [*forwards(np.concatenate([TRAIN[:970], samples(330, 9)])), *forwards(OTHER)]
    assert verdict(evaluated(chain(2), parts)) is None


def test_metrics_named_train_may_be_of_the_training_set(chain: Chains) -> None:
    assert verdict(evaluated(chain(2), forwards(TRAIN), phase="both")) is None


def test_training_in_one_batch_that_is_evaluated_is_information(chain: Chains) -> None:
    # A whole graph: the same nodes in each forward, the masks of the losses are not seen.
    run = evaluated(chain(2), [TRAIN], n_pairs=20 * 1000 * 999 // 2)
    result = verdict(run)
    assert isinstance(result, Finding)
    assert result.severity is Severity.INFO


@pytest.mark.parametrize("tag", ["rl", "gan"])
def test_states_of_an_agent_and_latents_are_met_again(chain: Chains, tag: str) -> None:
    result = verdict(evaluated(chain(2, tags=(tag,)), forwards(mixed(150))))
    assert isinstance(result, Finding)
    assert result.severity is Severity.INFO


def test_other_samples_in_each_evaluation_are_not_judged(chain: Chains) -> None:
    """Folds: what is validated now was trained on before."""
    run = evaluated(chain(2), forwards(mixed(150)))
    run.rows["sketches"] = [r for r in run.rows["sketches"] if r["step"] != 399]
    sketch(run, 399, "train", [np.concatenate([TRAIN, OTHER])])
    sketch(run, 399, "eval", forwards(TRAIN[500:900]))
    assert "different samples" in not_checked(diagnosed(run), "leakage").reason


def test_what_is_trained_on_after_the_last_evaluation_does_not_count(chain: Chains) -> None:
    """The last training, of all data, with the best settings."""
    run = evaluated(chain(2), forwards(OTHER))
    sketch(run, 400, "train", [np.concatenate([TRAIN, OTHER])])
    assert verdict(run) is None


def test_training_data_seen_once_are_not_known(chain: Chains) -> None:
    run = evaluated(chain(2), forwards(mixed(150)), times=1)
    assert "two epochs" in not_checked(diagnosed(run), "leakage").reason


def test_training_data_that_are_half_known_are_not_judged(chain: Chains) -> None:
    """Else an evaluation of all training data would look like a mixture."""
    times = np.where(np.arange(1000) % 2 == 0, 1, 2)
    run = evaluated(chain(2), forwards(TRAIN), times=times)
    assert isinstance(verdict(run), NotChecked)


def test_rows_of_a_table_that_are_equal_by_chance_are_not_judged(chain: Chains) -> None:
    run = evaluated(chain(2), forwards(mixed(150)), n_equal_pairs=1000)
    assert "by chance" in not_checked(diagnosed(run), "leakage").reason


def test_batches_drawn_with_replacement_hold_samples_twice(chain: Chains) -> None:
    # One pair in 1,000 is of one sample twice.
    run = evaluated(chain(2), [mixed(150)], n_equal_pairs=490)
    assert isinstance(verdict(run), Finding)


def test_sharing_more_than_five_times_what_chance_does_counts(chain: Chains) -> None:
    # 7 of 490,000 pairs: 1.4 % of an evaluation equal one of 1,000 samples by chance.
    rare = {"n_equal_pairs": 7}
    assert verdict(evaluated(chain(2), forwards(mixed(25)), **rare)) is None
    assert isinstance(verdict(evaluated(chain(2), forwards(mixed(60)), **rare)), Finding)


@pytest.mark.parametrize("values", [2.0, 7.0])
def test_samples_of_few_distinct_values_are_not_compared(chain: Chains, values: float) -> None:
    run = evaluated(chain(2), forwards(mixed(150)), distinct_values=values)
    assert isinstance(verdict(run), NotChecked)


def test_large_sets_are_compared_by_the_part_that_both_know(chain: Chains) -> None:
    large, others = samples(200_000, 2), samples(40_000, 3)
    both = np.random.default_rng(4).permutation(np.concatenate([others, large[:10_000]]))
    run = chain(2)
    for step in (50, 100):
        sketch(run, step, "train", [large], n_pairs=10**9)
        sketch(run, step, "eval", forwards(both, 100), n_pairs=10**7)
    result = found(diagnosed(run), "leakage")
    assert result.value == pytest.approx(0.2, abs=0.03)
    beside = chain(2)
    for step in (50, 100):
        sketch(beside, step, "train", [large], n_pairs=10**9)
        parts = [*forwards(large, 100), *forwards(others, 100)]
        sketch(beside, step, "eval", parts, n_pairs=10**7)
    assert verdict(beside) is None


def test_what_any_rank_trains_on_counts(chain: Chains) -> None:
    """Each rank sees its part of the training data, the first one evaluates."""
    run = chain(2)
    both = np.concatenate([OTHER, TRAIN[:50], TRAIN[-50:]])
    for step in EVALUATIONS:
        sketch(run, step, "train", [TRAIN[:500]])
        sketch(run, step, "eval", [both])
    run.write()
    run.rank, run.rows = 1, {}
    for step in EVALUATIONS:
        sketch(run, step, "train", [TRAIN[500:]])
    result = verdict(run)
    assert isinstance(result, Finding)
    assert "100 of 500" in result.message


def test_without_an_evaluation_it_says_what_to_log(chain: Chains) -> None:
    run = chain(2)
    for step, loss in enumerate(learning(60)):
        run.add("steps", step=step, loss=loss, lr=0.1, flags=1)
    assert "log the result as val_" in not_checked(diagnosed(run), "leakage").reason


def correlated(run: Chain, values: Sequence[float], *, loss: str = "cross_entropy") -> Chain:
    for step, value in enumerate(values):
        run.activation("", "input", step, target_corr=value)
        run.activation("", "target", step, loss_op=loss)
    return run


def test_a_feature_that_is_the_class_in_every_batch_is_found(chain: Chains) -> None:
    result = verdict(correlated(chain(2), [1.0, 0.9995, 1.0, 1.0]))
    assert isinstance(result, Finding)
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(0.9995)


def test_a_feature_that_is_the_target_of_a_regression_is_information(chain: Chains) -> None:
    result = verdict(correlated(chain(2), [1.0] * 6, loss="mse_loss"))
    assert isinstance(result, Finding)
    assert result.severity is Severity.INFO


@pytest.mark.parametrize("values", [[1.0] * 3, [1.0, 1.0, 0.99, 1.0, 1.0], [0.95] * 8])
def test_a_feature_that_is_not_always_the_target_is_not(
    chain: Chains, values: Sequence[float]
) -> None:
    assert isinstance(verdict(correlated(chain(2), values)), NotChecked)


def with_columns(
    run: Chain,
    columns: Sequence[int],
    *,
    n: int = 16,
    operation: str = "mul",
    n_distinct: int = 2,
    whole: bool = True,
) -> Chain:
    for step, column in enumerate(columns):
        run.add(
            "loss_graphs",
            step=step,
            call=0,
            pair=0,
            path="",
            operation=operation,
            n=n,
            n_distinct=n_distinct,
            whole_targets=whole,
            input_column=column,
        )
    return run


@pytest.mark.parametrize(
    ("operation", "n_distinct"), [("mul", 2), ("binary_cross_entropy", 2), ("gather", 5)]
)
def test_a_column_that_is_the_label_of_a_loss_by_hand_is_named(
    chain: Chains, operation: str, n_distinct: int
) -> None:
    run = with_columns(chain(2), [3] * 6, operation=operation, n_distinct=n_distinct)
    result = verdict(run)
    assert isinstance(result, Finding)
    assert result.severity is Severity.WARNING
    assert "column 3 of the model's input is the target" in result.message


def test_a_column_that_is_a_quantity_is_information(chain: Chains) -> None:
    run = with_columns(chain(2), [0] * 6, operation="mse_loss", n_distinct=16, whole=False)
    result = verdict(run)
    assert isinstance(result, Finding)
    assert result.severity is Severity.INFO


@pytest.mark.parametrize(
    ("columns", "n"), [([3, 3, 3, -1, 3], 16), ([3, 2] * 4, 16), ([3] * 3, 64), ([3] * 4, 7)]
)
def test_a_column_that_is_the_target_by_chance_is_not(
    chain: Chains, columns: list[int], n: int
) -> None:
    assert isinstance(verdict(with_columns(chain(2), columns, n=n)), NotChecked)


@pytest.mark.parametrize(
    ("n_copies", "values", "is_told"), [(40, 30.0, True), (10, 30.0, False), (40, 2.0, False)]
)
def test_near_copies_of_training_samples_are_told(
    chain: Chains, *, n_copies: int, values: float, is_told: bool
) -> None:
    codes = np.random.default_rng(3).integers(0, 2**63, size=(600, 2)).astype(np.uint64)
    trained, others = codes[:400], codes[400:]
    copies = trained[:n_copies] ^ np.uint64(0b10101)  # three bits
    run = chain(2)
    for step, loss in enumerate(learning(100)):
        run.add("steps", step=step, loss=loss, lr=0.1, samples=50, flags=1)
    sketch(run, 49, "train", [TRAIN], codes=trained, distinct_values=values)
    sketch(run, 49, "eval", [OTHER], codes=np.concatenate([copies, others]), distinct_values=values)
    told = [f for f in diagnosed(run).findings if f.detector == "leakage"]
    assert [f.severity for f in told] == ([Severity.WARNING] if is_told else [])
    assert not told or told[0].value == pytest.approx(40 / 240)
