import math

import pytest

from telemetry.compare.divergence.cause import Evidence, judge_divergence
from telemetry.compare.divergence.sampled_bits import Differing, SampledStep
from telemetry.compare.settings.changed import by_sort
from telemetry.compare.settings.config_changes import ConfigChange
from telemetry.compare.terms import DivergenceKind

WEIGHTS_AND_OUTPUTS = frozenset({"weight", "output", "gradient", "update"})


def parted(  # noqa: PLR0913 - each keyword is one thing that may be known
    *keys: str,
    magnitude: float = 0.1,
    same_code: bool | None = None,
    half_precision: bool = False,
    step: int = 4,
    differs: frozenset[str] = frozenset({"loss"}),
    sampled: SampledStep | None = None,
    batch_known: bool = True,
    weights_known: bool = True,
) -> tuple[DivergenceKind, str]:
    """Kind and detail of two runs whose losses part after equal steps, by default."""
    config = [ConfigChange(key=key, base="a", candidate="b") for key in keys]
    found = judge_divergence(
        Evidence(
            first_step=0,
            last_step=9,
            step=step,
            equal_until=step - 1 if step else None,
            other_parameter=None,
            weights_known=weights_known,
            checksum_differs=False,
            differs=differs,
            sampled=sampled,
            batch_known=batch_known,
            magnitude=magnitude,
            half_precision=half_precision,
            changed=by_sort(config),
            same_code=same_code,
        )
    )
    return found.kind, found.detail


@pytest.mark.parametrize(
    ("keys", "same_code", "kind"),
    [
        (["environment.git_commit", "lr"], None, DivergenceKind.OPTIMIZATION),
        (["environment.git_commit", "environment.torch"], False, DivergenceKind.CODE),
        (["environment.torch"], None, DivergenceKind.CODE),
        (["environment.torch"], True, DivergenceKind.ENVIRONMENT),
        (["seed"], True, DivergenceKind.NONDETERMINISM),
        ([], True, DivergenceKind.NONDETERMINISM),
        (["recorded.model.act"], True, DivergenceKind.CODE),
        (["recorded.data.sampler"], None, DivergenceKind.CODE),
    ],
)
def test_a_large_difference_has_the_first_cause_that_is_known(
    keys: list[str], same_code: object, kind: DivergenceKind
) -> None:
    assert parted(*keys, same_code=None if same_code is None else bool(same_code))[0] is kind


def test_half_precision_rounds_more() -> None:
    assert parted(magnitude=5e-3)[0] is DivergenceKind.CODE
    assert parted(magnitude=5e-3, half_precision=True)[0] is DivergenceKind.NONDETERMINISM
    assert parted(magnitude=5e-2, half_precision=True)[0] is DivergenceKind.CODE


def test_what_was_not_sampled_is_not_claimed() -> None:
    assert "weights at this step were not sampled" in parted(magnitude=1e-7)[1]
    assert parted(batch_known=False)[0] is DivergenceKind.UNKNOWN
    assert parted(step=0, weights_known=False)[0] is DivergenceKind.UNKNOWN


def test_a_module_that_draws_random_numbers_needs_no_other_cause() -> None:
    dropout = Differing(kind="output", name="Dropout", layer="drop", magnitude=0.3, draws=True)
    sampled = SampledStep(step=4, recorded=WEIGHTS_AND_OUTPUTS, differing=(dropout,))
    kind, detail = parted("environment.torch", sampled=sampled)
    assert kind is DivergenceKind.NONDETERMINISM
    assert "the output of drop (Dropout) differs" in detail
    assert parted("recorded.model.drop", sampled=sampled)[0] is DivergenceKind.CODE


def test_a_gradient_norm_alone_is_a_backward_pass() -> None:
    kind, detail = parted(differs=frozenset({"grad_norm"}), magnitude=1e-7)
    assert kind is DivergenceKind.NONDETERMINISM
    assert "the loss is equal, but the gradient differs (1e-07 apart)" in detail


def test_an_unknown_size_is_not_called_large() -> None:
    assert parted(magnitude=math.nan)[0] is DivergenceKind.NONDETERMINISM
