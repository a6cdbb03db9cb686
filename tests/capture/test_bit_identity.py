"""Training with a callback is bit-identical to training without: all pairs, and whole mixtures."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from all_pairs import Design, all_pairs
from architectures import ARCHITECTURES
from frozen import differences
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from optimizers import CUDA_OPTIMIZERS, OPTIMIZERS
from surroundings import SURROUNDINGS
from watched_training import LOOPS, RECORDINGS, Case, Training, failures

pytestmark = [
    pytest.mark.no_cover,
    # torch's own words on what some of these loops do
    pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning"),
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning"),
]

# What torch itself refuses, without a callback too.
IMPOSSIBLE = [
    # It differs from itself: momentum begins in memory that nobody has written.
    ({"sgd_fused"}, {"scaler", "bfloat16"}),
    ({"complex"}, {"sgd_fused", "adamw_fused", "adafactor", "clip_value", "scaler"}),
    ({"reentrant"}, {"gradient_penalty"}),
    ({"inside_backward"}, {"clip_value", "two_backwards", "gradient_penalty"}),
    ({"scaler"}, {"inside_backward", "by_hand", "lbfgs", "sgd_closure"}),
    ({"anomaly"}, {"scaler", "gradient_penalty"}),  # it raises for what is not finite
]
# A forward that writes into a parameter cannot be probed; test_probe says what is told then.
UNPROBED = ({"embeddings"}, {"probe"})
# What is compiled is tested for itself in test_compiled_steps; here a few stand for all.
COMPILED = {"mlp", "convnet", "attention", "sgd", "adamw", "lbfgs", "by_hand"}
UNCOMPILED = ({"compile"}, {*ARCHITECTURES, *OPTIMIZERS} - COMPILED)

FACTORS = {
    "architecture": tuple(ARCHITECTURES),
    "optimizer": tuple(OPTIMIZERS),
    "loop": LOOPS,
    "around": tuple(SURROUNDINGS),
    "recording": tuple(RECORDINGS),
}


def can_meet(levels: Iterable[str]) -> bool:
    met = set(levels)
    rules = (*IMPOSSIBLE, UNPROBED, UNCOMPILED)
    return not any(met & one and met & others for one, others in rules)


def case_of(design: Design) -> Case:
    return Case(
        architecture=design["architecture"],
        optimizer=design["optimizer"],
        loop=frozenset({design["loop"]}),
        around=frozenset({design["around"]}),
        recording=design["recording"],
    )


N_EACH = 5
N_MIXED = 100
PAIRS = [case_of(d) for d in all_pairs(FACTORS, can_meet=lambda design: can_meet(design.values()))]


@st.composite
def mixtures(draw: st.DrawFn) -> Case:
    """Several things at once."""
    case = Case(
        architecture=draw(st.sampled_from(FACTORS["architecture"])),
        optimizer=draw(st.sampled_from(FACTORS["optimizer"])),
        loop=draw(st.frozensets(st.sampled_from(LOOPS[1:]), min_size=2, max_size=4)),
        around=draw(
            st.frozensets(st.sampled_from(FACTORS["around"][1:-1]), min_size=1, max_size=4)
        ),
        recording=draw(st.sampled_from(FACTORS["recording"])),
    )
    assume(can_meet(case.levels))
    return case


def check(case: Case, store: Path) -> None:
    expected = Training(case).run(None)
    found = Training(case).run(store)
    assert not differences(expected, found)
    assert not failures(store)


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


@pytest.mark.parametrize("case", PAIRS, ids=str)
def test_training_cannot_tell_that_it_is_watched(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


@pytest.mark.parametrize("number", range(N_MIXED // N_EACH))
def test_nor_when_many_things_come_together(
    number: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @seed(number)
    @settings(
        max_examples=N_EACH,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(case=mixtures())
    def mixed(case: Case) -> None:
        check(case, tmp_path_factory.mktemp("store"))

    mixed()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="for GPUs")
@pytest.mark.parametrize("architecture", ["mlp", "parametrized", "autoencoder"])
@pytest.mark.parametrize("optimizer", [*CUDA_OPTIMIZERS, "sgd", "adamw_foreach"])
@pytest.mark.parametrize("recording", ["every_step", "probe"])
def test_on_a_gpu(architecture: str, optimizer: str, recording: str, tmp_path: Path) -> None:
    loop = frozenset({"clip_norm", "scaler", "evaluation"})
    check(
        Case(
            architecture=architecture,
            optimizer=optimizer,
            loop=loop,
            recording=recording,
            device="cuda",
        ),
        tmp_path,
    )


@pytest.mark.parametrize("factor", FACTORS)
def test_every_two_levels_that_can_meet_do(factor: str) -> None:
    for level in FACTORS[factor]:
        met = {name for case in PAIRS for name in case.levels if level in case.levels}
        others = {n for other, names in FACTORS.items() if other != factor for n in names}
        assert {name for name in others if can_meet({level, name})} <= met
