from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from run_makers import LAYERS, builder
from synthetic import RunBuilder

from telemetry.compare.divergence.cause import Divergence
from telemetry.compare.divergence.divergence import first_divergence
from telemetry.compare.settings.config_changes import ConfigChange
from telemetry.compare.terms import DivergenceKind
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

N_STEPS = 12
LATER = 6
LEARNING_RATE = (ConfigChange(key="lr", base=0.1, candidate=0.2),)
COMMIT = (ConfigChange(key="environment.git_commit", base="a", candidate="b"),)
LIBRARY = (ConfigChange(key="environment.torch", base="2.1", candidate="2.2"),)
SEED_ONLY = (ConfigChange(key="seed", base=0, candidate=1),)


def recorded(  # noqa: PLR0913 - each keyword is one thing that can differ
    store: Path,
    index: int,
    *,
    weights: Mapping[str, float] | None = None,
    losses: Mapping[int, float] | None = None,
    batches: Mapping[int, int] | None = None,
    lr: Mapping[int, float] | None = None,
    gradients: Mapping[tuple[str, int], float] | None = None,
    updates: Mapping[tuple[str, int], float] | None = None,
    outputs: Mapping[tuple[str, int], float] | None = None,
    later_weight: float = 1.0,
    samples: int = 64,
    checksum: int | None = None,
    hashed: bool = True,
    sampled: bool = True,
    shape: tuple[int, ...] = (4, 4),
    layers: Sequence[str] = LAYERS,
    first: int = 0,
) -> Run:
    """A deterministic run of twelve steps, sampled at even ones, with the given differences."""
    built = builder(store, index)
    for step in range(first, N_STEPS):
        built.add(
            "steps",
            step=step,
            loss=(losses or {}).get(step, 1.0 / (step + 1)),
            lr=(lr or {}).get(step, 0.1),
            batch_hash=(batches or {}).get(step, 2**61 + step) if hashed else None,
            param_checksum=checksum + step if checksum and step % 2 == 0 else None,
            samples=samples,
            flags=1,
        )
    for depth, layer in enumerate(layers):
        name = f"{layer}.weight"
        built.module(layer, depth=depth).parameter(name, shape=shape, depth=depth)
        for step in range(first, N_STEPS, 2) if sampled else ():
            weight = (weights or {}).get(layer, 1.0) * (later_weight if step >= LATER else 1.0)
            _sample(built, name, step, weight)
            built.norm(name, "gradient", step, (gradients or {}).get((layer, step), 2.0), n=16)
            built.norm(name, "update", step, (updates or {}).get((layer, step), 0.1), n=16)
    built.module("", type_="Net")
    for layer in ("", *layers):
        for step in range(first, N_STEPS, 2) if sampled else ():
            built.activation(layer, "output", step, sumsq=(outputs or {}).get((layer, step), 1.0))
    return load_run(built.write())


def _sample(built: RunBuilder, name: str, step: int, value: float) -> None:
    values = np.linspace(0.1, 0.2 * value + 0.01 * step, 16, dtype=np.float32)
    built.tensor(name, "weight", step, values)


def divergence(
    store: Path, base: Run, candidate: Run, config: Sequence[ConfigChange] = ()
) -> Divergence:
    with Store.open(store).session([base, candidate]) as session:
        return first_divergence(session, base, candidate, config)


def test_replayed_runs_part_nowhere(tmp_path: Path) -> None:
    found = divergence(tmp_path, recorded(tmp_path, 1), recorded(tmp_path, 2))
    assert (found.kind, found.step, found.layer) == (DivergenceKind.NONE, None, None)
    assert "step 11" in found.detail


def test_other_initial_weights_are_named_by_the_first_layer_that_has_them(tmp_path: Path) -> None:
    other = recorded(tmp_path, 2, weights={"body": 2.0, "head": 3.0}, losses={0: 9.0})
    found = divergence(tmp_path, recorded(tmp_path, 1), other, LEARNING_RATE)
    assert (found.kind, found.step, found.layer) == (DivergenceKind.INITIAL_WEIGHTS, 0, "body")


def test_other_weights_and_other_data_are_both_told(tmp_path: Path) -> None:
    other = recorded(tmp_path, 2, weights={"stem": 2.0}, batches={0: 5}, losses={0: 9.0})
    found = divergence(tmp_path, recorded(tmp_path, 1), other)
    assert (found.kind, found.layer) == (DivergenceKind.INITIAL_WEIGHTS, "stem")
    assert "batches differ too" in found.detail


def test_weights_that_only_the_checksum_tells_apart_are_other_weights(tmp_path: Path) -> None:
    other = recorded(tmp_path, 2, checksum=8, losses={0: 9.0})
    found = divergence(tmp_path, recorded(tmp_path, 1, checksum=7), other)
    assert (found.kind, found.step, found.layer) == (DivergenceKind.INITIAL_WEIGHTS, 0, None)


@pytest.mark.parametrize(
    ("shape", "layers", "layer"),
    [((4, 5), LAYERS, "stem"), ((4, 4), ("stem", "head"), "body"), ((4, 4), (*LAYERS, "x"), "x")],
)
def test_another_architecture_is_other_initial_weights(
    tmp_path: Path, shape: tuple[int, ...], layers: tuple[str, ...], layer: str
) -> None:
    other = recorded(tmp_path, 2, shape=shape, layers=layers)
    found = divergence(tmp_path, recorded(tmp_path, 1), other)
    assert (found.kind, found.layer) == (DivergenceKind.INITIAL_WEIGHTS, layer)


def test_another_batch_is_data_even_if_the_loss_differs_at_the_same_step(tmp_path: Path) -> None:
    other = recorded(tmp_path, 2, batches={5: 2**61 + 6}, losses={5: 9.0, 6: 9.0})
    found = divergence(tmp_path, recorded(tmp_path, 1), other, LEARNING_RATE)
    assert (found.kind, found.step) == (DivergenceKind.DATA, 5)


def test_hashes_that_differ_in_the_last_bit_only_are_other_data(tmp_path: Path) -> None:
    other = recorded(tmp_path, 2, batches={0: 2**61 + 1})
    assert divergence(tmp_path, recorded(tmp_path, 1), other).kind is DivergenceKind.DATA


def test_another_learning_rate_is_optimization(tmp_path: Path) -> None:
    other = recorded(tmp_path, 2, lr={4: 0.2}, losses={5: 9.0})
    found = divergence(tmp_path, recorded(tmp_path, 1), other)
    assert (found.kind, found.step) == (DivergenceKind.OPTIMIZATION, 4)
    assert "learning rate" in found.detail


def test_another_update_from_equal_gradients_is_optimization_where_settings_differ(
    tmp_path: Path,
) -> None:
    changed = {("body", 0): 0.3, ("head", 0): 0.3}
    other = recorded(tmp_path, 2, updates=changed, losses={1: 9.0})
    base = recorded(tmp_path, 1)
    found = divergence(tmp_path, base, other, LEARNING_RATE)
    assert (found.kind, found.step, found.layer) == (DivergenceKind.OPTIMIZATION, 0, "body")
    assert found.layers == ("body", "head")
    assert "lr 0.1 -> 0.2" in found.detail
    silent = divergence(tmp_path, base, other)
    assert silent.kind is DivergenceKind.OPTIMIZATION
    assert "the optimizer computes a different update" in silent.detail
    rounded = recorded(tmp_path, 3, updates={("body", 0): 0.1 * (1 + 1e-6)}, losses={1: 9.0})
    assert divergence(tmp_path, base, rounded).kind is DivergenceKind.NONDETERMINISM


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (LEARNING_RATE, DivergenceKind.OPTIMIZATION),
        (SEED_ONLY, DivergenceKind.NONDETERMINISM),
        (COMMIT, DivergenceKind.CODE),
        ((), DivergenceKind.CODE),
    ],
)
def test_equal_weights_and_batch_that_part_beyond_rounding_have_a_cause(
    tmp_path: Path, config: Sequence[ConfigChange], kind: DivergenceKind
) -> None:
    other = recorded(tmp_path, 2, losses={4: 9.0}, outputs={("head", 4): 2.5})
    found = divergence(tmp_path, recorded(tmp_path, 1), other, config)
    assert (found.kind, found.step, found.layer) == (kind, 4, "head")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ((), DivergenceKind.NONDETERMINISM),
        (COMMIT, DivergenceKind.NONDETERMINISM),
        (LIBRARY, DivergenceKind.ENVIRONMENT),
        (LEARNING_RATE, DivergenceKind.OPTIMIZATION),
    ],
)
def test_a_difference_like_rounding_is_nondeterminism_unless_something_else_differs(
    tmp_path: Path, config: Sequence[ConfigChange], kind: DivergenceKind
) -> None:
    other = recorded(tmp_path, 2, losses={4: 0.2 * (1 + 1e-7)})
    found = divergence(tmp_path, recorded(tmp_path, 1), other, config)
    assert (found.kind, found.step, found.equal_until) == (kind, 4, 3)
    assert found.magnitude == pytest.approx(1e-7, rel=0.01)


def test_a_gradient_that_parts_alone_arises_in_the_last_layer_that_has_it(tmp_path: Path) -> None:
    changed = {("stem", 4): 2.0 * (1 + 1e-6), ("body", 4): 2.0 * (1 + 1e-6)}
    other = recorded(tmp_path, 2, gradients=changed, losses={5: 9.0})
    found = divergence(tmp_path, recorded(tmp_path, 1), other)
    assert (found.kind, found.step) == (DivergenceKind.NONDETERMINISM, 4)
    assert found.layers == ("body", "stem")
    assert "the loss is equal, but the gradient differs" in found.detail


def test_a_forward_that_parts_is_named_by_the_first_module_inside(tmp_path: Path) -> None:
    changed = {("body", 4): 1.1, ("head", 4): 1.2, ("", 4): 1.3}
    other = recorded(tmp_path, 2, outputs=changed, losses={4: 9.0})
    found = divergence(tmp_path, recorded(tmp_path, 1), other)
    assert (found.kind, found.step, found.layers) == (DivergenceKind.CODE, 4, ("body", "head"))
    assert "the output of body (Linear) differs" in found.detail


def test_equal_outputs_and_another_loss_are_the_loss_itself(tmp_path: Path) -> None:
    other = recorded(tmp_path, 2, losses={4: 0.3}, gradients={("head", 4): 2.5})
    found = divergence(tmp_path, recorded(tmp_path, 1), other)
    assert (found.kind, found.layer) == (DivergenceKind.CODE, None)
    assert "module outputs and batch are equal, but the loss differs" in found.detail


def test_weights_that_differ_after_equal_losses_parted_in_an_update(tmp_path: Path) -> None:
    built = [recorded(tmp_path, i, later_weight=value) for i, value in ((1, 1.0), (2, 1.5))]
    found = divergence(tmp_path, *built, LEARNING_RATE)
    assert (found.kind, found.step, found.layer) == (DivergenceKind.OPTIMIZATION, 6, "stem")
    assert "the update before this step differed" in found.detail


def test_the_data_are_told_apart_by_order_size_and_source(tmp_path: Path) -> None:
    base = recorded(tmp_path, 1)
    order = {step: 2**61 + (N_STEPS - 1 - step) for step in range(N_STEPS)}
    other = recorded(tmp_path, 2, batches=order)
    assert (
        "the batches are the same but in another order" in divergence(tmp_path, base, other).detail
    )
    smaller = recorded(tmp_path, 3, samples=32)
    found = divergence(tmp_path, base, smaller)
    assert found.kind is DivergenceKind.DATA
    assert "batches have 64 samples in the base and 32 in the candidate" in found.detail
    source = (ConfigChange(key="recorded.data.dataset_size", base=600, candidate=500),)
    found = divergence(tmp_path, base, recorded(tmp_path, 4, batches={0: 1}), source)
    assert "the training data differ: data.dataset_size 600 -> 500" in found.detail


def test_hashes_of_the_data_set_are_not_said(tmp_path: Path) -> None:
    base = recorded(tmp_path, 0)
    other = recorded(tmp_path, 1, batches={0: 1})
    source = (ConfigChange(key="recorded.data.fingerprint", base="3fa1", candidate="c0de"),)
    detail = divergence(tmp_path, base, other, source).detail
    assert detail.startswith("the training data differ;")
    assert "3fa1" not in detail


def test_a_loss_that_turns_into_nan_is_a_difference(tmp_path: Path) -> None:
    other = recorded(tmp_path, 2, losses={3: float("nan")})
    found = divergence(tmp_path, recorded(tmp_path, 1), other)
    assert (found.kind, found.step, found.layer) == (DivergenceKind.NONDETERMINISM, 3, None)


def test_nan_at_the_same_step_is_no_difference(tmp_path: Path) -> None:
    losses = {3: float("nan")}
    pair = recorded(tmp_path, 1, losses=losses), recorded(tmp_path, 2, losses=losses)
    assert divergence(tmp_path, *pair).kind is DivergenceKind.NONE


def test_without_batch_hashes_the_cause_is_unknown(tmp_path: Path) -> None:
    base = recorded(tmp_path, 1, hashed=False)
    found = divergence(tmp_path, base, recorded(tmp_path, 2, hashed=False, losses={4: 9.0}))
    assert (found.kind, found.step) == (DivergenceKind.UNKNOWN, 4)
    assert "has no fingerprint" in found.detail


def test_without_sampled_weights_a_difference_at_the_start_is_unknown(tmp_path: Path) -> None:
    base = recorded(tmp_path, 1, sampled=False)
    other = recorded(tmp_path, 2, sampled=False, losses={0: 9.0})
    assert divergence(tmp_path, base, other).kind is DivergenceKind.UNKNOWN
    silent = recorded(tmp_path, 3, sampled=False, hashed=False)
    equal = recorded(tmp_path, 4, sampled=False, hashed=False)
    assert divergence(tmp_path, silent, equal).kind is DivergenceKind.UNKNOWN


def test_runs_without_a_common_step_cannot_be_compared(tmp_path: Path) -> None:
    late = builder(tmp_path, 9)
    for step in range(100, 105):
        late.add("steps", step=step, loss=1.0, flags=1)
    found = divergence(tmp_path, recorded(tmp_path, 1), load_run(late.write()))
    assert (found.kind, found.step) == (DivergenceKind.UNKNOWN, None)


def test_a_run_that_starts_later_is_not_compared_by_its_first_weights(tmp_path: Path) -> None:
    late = recorded(tmp_path, 2, first=4, weights={"stem": 2.0}, losses={4: 9.0})
    found = divergence(tmp_path, recorded(tmp_path, 1), late)
    assert found.kind is not DivergenceKind.INITIAL_WEIGHTS
    assert found.step == 4


def test_the_runs_that_were_compared_are_told(tmp_path: Path) -> None:
    base, other = recorded(tmp_path, 1), recorded(tmp_path, 2)
    found = divergence(tmp_path, base, other)
    assert (found.base, found.candidate) == (base.run, other.run)
