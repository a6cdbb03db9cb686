"""rank_desync."""

import json
from collections.abc import Sequence

from judged_runs import Chain, Chains, found, learning, not_checked

from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Diagnosis, Severity
from telemetry.store.store import Store

ID = "rank_desync"
BIG = 2**60  # beyond what a float tells apart


def ranks(
    run: Chain,
    checksums: Sequence[Sequence[int]],
    *,
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
    assert "18 sampled steps" in result.message


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
    assert ID in ranks(chain(1), [range(30), [*range(29), 99]]).passed


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
