"""repeated_batch."""

from collections.abc import Sequence

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked

from telemetry.diagnose.finding import Severity

LOADER = {"dataset_size": 1280, "batches": 20, "batch_size": 64}


def hashed(run: Chain, hashes: Sequence[int | None], *, samples: int = 64) -> Chain:
    """Steps whose batches have these fingerprints; None has none."""
    for step, (loss, digest) in enumerate(zip(learning(len(hashes)), hashes, strict=True)):
        run.add("steps", step=step, loss=loss, lr=0.1, samples=samples, batch_hash=digest, flags=1)
    return run


def test_one_batch_of_a_long_epoch_is_found(chain: Chains) -> None:
    run = hashed(chain(2), [7] * 100).event("epoch", **LOADER)
    result = found(diagnosed(run), "repeated_batch")
    assert result.severity is Severity.WARNING
    assert (result.first_step, result.last_step, result.value) == (1, 99, 1.0)
    assert "the same batch" in result.message
    assert "an epoch has 20 steps" in result.message


def test_validation_that_gets_worse_makes_it_an_error(chain: Chains) -> None:
    run = hashed(chain(2), [7] * 100).event("epoch", **LOADER)
    run.metric("val_loss", {20: 2.0, 40: 2.4, 60: 2.8, 80: 3.0})
    assert found(diagnosed(run), "repeated_batch").severity is Severity.ERROR


def test_three_batches_of_twenty_are_found(chain: Chains) -> None:
    run = hashed(chain(2), [step % 3 for step in range(100)]).event("epoch", **LOADER)
    assert "every 3 steps" in found(diagnosed(run), "repeated_batch").message


@pytest.mark.parametrize("period", [10, 20])
def test_batches_that_return_after_an_epoch_pass(chain: Chains, period: int) -> None:
    run = hashed(chain(2), [step % period for step in range(100)]).event("epoch", **LOADER)
    assert "repeated_batch" in diagnosed(run).passed


def test_data_of_one_batch_pass(chain: Chains) -> None:
    run = hashed(chain(2), [7] * 100)
    run.event("epoch", dataset_size=64, batches=1, batch_size=64)
    assert "repeated_batch" in diagnosed(run).passed


def test_windows_with_gaps_are_not_joined(chain: Chains) -> None:
    windows = [step % 8 if step % 256 < 64 else None for step in range(1024)]
    run = hashed(chain(2), windows).event("epoch", **LOADER)
    assert found(diagnosed(run), "repeated_batch").evidence["period"] == 8
    sparse = [step % 8 if step % 4 == 0 else None for step in range(1024)]
    run = hashed(chain(2), sparse).event("epoch", **LOADER)
    assert "consecutive" in not_checked(diagnosed(run), "repeated_batch").reason


def test_micro_batches_shorten_the_epoch(chain: Chains) -> None:
    run = hashed(chain(2), [step % 5 for step in range(100)], samples=256).event("epoch", **LOADER)
    assert "repeated_batch" in diagnosed(run).passed


def test_full_batch_training_is_information(chain: Chains) -> None:
    result = found(diagnosed(hashed(chain(2), [7] * 100)), "repeated_batch")
    assert result.severity is Severity.INFO


def test_without_a_loader_lost_validation_decides(chain: Chains) -> None:
    run = hashed(chain(2), [7] * 100)
    run.metric("val_loss", {20: 2.0, 40: 2.4, 60: 2.8, 80: 3.0})
    assert found(diagnosed(run), "repeated_batch").severity is Severity.WARNING
    run = hashed(chain(2), [7] * 100, samples=264)
    run.metric("val_loss", {20: 2.0, 40: 2.4, 60: 2.8, 80: 3.0})
    assert found(diagnosed(run), "repeated_batch").severity is Severity.INFO
    run = hashed(chain(2), [7] * 100)
    run.metric("val_loss", {20: 2.0, 40: 1.4, 60: 0.8, 80: 0.7})
    assert found(diagnosed(run), "repeated_batch").severity is Severity.INFO


def test_a_whole_graph_is_no_batch_of_its_loader(chain: Chains) -> None:
    run = hashed(chain(2), [7] * 100, samples=2708).event("epoch", **LOADER)
    assert found(diagnosed(run), "repeated_batch").severity is Severity.INFO


def test_sparse_inputs_cannot_be_told_apart(chain: Chains) -> None:
    run = hashed(chain(2), [7] * 100).event("epoch", **LOADER)
    run.activation("", "input", 0, n=640_000, sumsq=64.0, absmax=1.0)
    assert "sparse" in not_checked(diagnosed(run), "repeated_batch").reason


def test_a_period_of_unknown_data_is_not_judged(chain: Chains) -> None:
    run = hashed(chain(2), [step % 3 for step in range(100)])
    assert "DataLoader" in not_checked(diagnosed(run), "repeated_batch").reason


def test_overfitting_one_batch_on_purpose_passes(chain: Chains) -> None:
    run = hashed(chain(2, tags=("overfit-one-batch",)), [7] * 100).event("epoch", **LOADER)
    result = diagnosed(run)
    assert result.findings == ()
    (entry,) = result.suppressed
    assert (entry.finding.detector, entry.by) == ("repeated_batch", "tag overfit-one-batch")


def test_no_fingerprints_are_not_judged(chain: Chains) -> None:
    run = chain(2).losses(learning(100))
    assert "fingerprint" in not_checked(diagnosed(run), "repeated_batch").reason


def test_a_run_that_turns_to_one_batch_is_found(chain: Chains) -> None:
    run = hashed(chain(2), [*range(60), *[7] * 60])
    result = found(diagnosed(run), "repeated_batch")
    assert (result.severity, result.first_step) == (Severity.WARNING, 61)


def test_a_run_that_turns_to_its_whole_data_passes(chain: Chains) -> None:
    run = hashed(chain(2), list(range(60)))
    for step in range(60, 120):
        run.add("steps", step=step, loss=0.1, samples=4096, batch_hash=7, flags=1)
    assert "repeated_batch" in diagnosed(run).passed


def test_a_few_equal_batches_at_the_end_pass(chain: Chains) -> None:
    run = hashed(chain(2), [*range(100), *[7] * 15])
    assert "repeated_batch" in diagnosed(run).passed


@pytest.mark.parametrize(("period", "is_found"), [(4, True), (60, False)])
def test_samples_whole_epochs_apart_do_not_tell_one_batch(
    chain: Chains, period: int, *, is_found: bool
) -> None:
    """Sixty batches were seen: an unshuffled epoch has sixty steps or more, not four."""
    n_steps = 60 + 12 * period
    later = dict.fromkeys(range(60, n_steps, period), 99)
    run = hashed(chain(2), [*range(60), *(later.get(step) for step in range(60, n_steps))])
    result = diagnosed(run)
    assert ("repeated_batch" in {f.detector for f in result.findings}) is is_found
