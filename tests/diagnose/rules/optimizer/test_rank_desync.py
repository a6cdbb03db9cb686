"""rank_desync."""

import json
from collections.abc import Mapping, Sequence

from judged_runs import Chain, Chains, found, learning, not_checked

from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Diagnosis, Severity
from telemetry.store.store import Store

ID = "rank_desync"
BIG = 2**60  # beyond what a float tells apart


def ranks(
    run: Chain,
    checksums: Sequence[Sequence[int | None]],
    *,
    whole: Sequence[Mapping[int, int]] = ({}, {}),
    batches: Sequence[Sequence[int]] | None = None,
    norms: Sequence[float] = (1.0, 1.0),
) -> Diagnosis:
    """Write two ranks with these checksums a step, and judge them."""
    rows, path = dict(run.rows), run.path
    for rank, own in enumerate(checksums):
        run.rank, run.rows = rank, dict(rows) if rank == 0 else {}
        for step, (checksum, loss) in enumerate(zip(own, learning(len(own)), strict=True)):
            digest = 100 * rank + step if batches is None else batches[rank][step]
            run.add(
                "steps", step=step, loss=loss, lr=0.1, flags=17, samples=64,
                param_checksum=checksum, batch_hash=digest, grad_norm_total=norms[rank],
                replica_hash=whole[rank].get(step),
            )  # fmt: skip
        run.write()
    manifest = path / "run.json"
    content = json.loads(manifest.read_text())
    content["attempts"][0]["world_size"] = 2
    manifest.write_text(json.dumps(content))
    store = Store.open(run.store)
    return diagnose_run(store, store.select(run.run))


def test_equal_weights_pass(chain: Chains) -> None:
    assert ID in ranks(chain(1), [range(30), range(30)]).passed


def test_weights_that_part_are_found_where_they_part(chain: Chains) -> None:
    a = [BIG + step for step in range(30)]
    b = [BIG + step + (step >= 12) for step in range(30)]
    result = found(ranks(chain(1), [a, b]), ID)
    assert (result.severity, result.first_step, result.last_step) == (Severity.ERROR, 12, 29)
    assert "the last 18 of 30 compared steps" in result.message


def test_replicas_that_were_never_broadcast_are_found(chain: Chains) -> None:
    result = found(ranks(chain(1), [range(30), range(100, 130)]), ID)
    assert result.severity is Severity.ERROR
    assert "from the first sample on" in result.message


def test_models_of_their_own_are_information(chain: Chains) -> None:
    result = found(ranks(chain(1), [range(30), range(100, 130)], norms=(1.0, 1.3)), ID)
    assert result.severity is Severity.INFO


def test_local_steps_with_averaging_are_information(chain: Chains) -> None:
    b = [step if step % 8 == 0 else 100 + step for step in range(30)]
    assert found(ranks(chain(1), [range(30), b]), ID).severity is Severity.INFO


def test_one_difference_at_the_end_is_not_enough(chain: Chains) -> None:
    result = ranks(chain(1), [range(30), [*range(29), 99]])
    assert "differ at step 29" in not_checked(result, ID).reason


def test_one_difference_of_all_weights_after_many_that_agree_is_enough(chain: Chains) -> None:
    steps = {step: step for step in (0, 1, 2, 4, 8, 16)}
    whole = [steps, {**steps, 16: 99}]
    result = found(ranks(chain(1), [[None] * 30] * 2, whole=whole), ID)
    assert (result.severity, result.first_step) == (Severity.ERROR, 16)


def test_comparisons_that_end_long_before_the_run_are_not_enough(chain: Chains) -> None:
    whole = [dict.fromkeys((0, 1, 2, 4), 7)] * 2
    reason = not_checked(ranks(chain(1), [[None] * 30] * 2, whole=whole), ID).reason
    assert reason.endswith("compared until step 4, the run went on to step 29")


def test_whole_weights_beside_sharded_ones_are_compared(chain: Chains) -> None:
    run = chain(1)
    for row in run.rows["tensors"]:
        row["sharding"] = "sharded"
    checksums = [range(30), range(100, 130)]
    assert ID in ranks(run, checksums, whole=[dict.fromkeys((0, 8, 16), 7)] * 2).passed


def test_the_same_batches_on_all_ranks_are_found(chain: Chains) -> None:
    result = found(ranks(chain(1), [range(30)] * 2, batches=[range(30)] * 2), ID)
    assert (result.severity, result.value) == (Severity.WARNING, 1.0)


def test_one_input_for_all_steps_and_ranks_passes(chain: Chains) -> None:
    assert ID in ranks(chain(1), [range(30)] * 2, batches=[[7] * 30] * 2).passed


def test_one_rank_is_not_judged(chain: Chains) -> None:
    assert "one rank" in not_checked(ranks(chain(1), [range(30)]), ID).reason


def test_sharded_weights_are_not_judged(chain: Chains) -> None:
    run = chain(1)
    for row in run.rows["tensors"]:
        row["sharding"] = "sharded"
    assert "sharded" in not_checked(ranks(run, [range(30), range(100, 130)]), ID).reason
