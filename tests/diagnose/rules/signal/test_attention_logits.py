"""attention_logits on synthetic logits."""

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

ID = "attention_logits"


def with_attention(
    run: Chain,
    losses: list[float],
    highest: float,
    *,
    peaked: float = 1.0,
    low: float = -1.0,
    steps: range = range(0, 120, 4),
) -> Chain:
    run.module("attn", type_="MultiheadAttention", depth=1, role="attention")
    run.losses(losses, every=4)
    for step in steps:
        run.activation(
            "attn", "attention_logits", step, max=highest, min=low,
            absmax=max(highest, -low), entropy=0.01, peaked_share=peaked, n_units=4,
        )  # fmt: skip
    return run


@pytest.mark.parametrize(
    ("highest", "losses", "peaked", "severity"),
    [
        (3000.0, learning(120), 0.5, Severity.WARNING),
        (3000.0, learning(120), 0.25, Severity.INFO),
        (150.0, stalled(2.3, 120), 1.0, Severity.WARNING),
        (150.0, stalled(2.3, 120), 0.25, Severity.INFO),
        (1390.0, learning(120), 1.0, Severity.INFO),
    ],
)
def test_how_much_it_matters(
    chain: Chains, highest: float, losses: list[float], peaked: float, severity: Severity
) -> None:
    result = found(diagnosed(with_attention(chain(0), losses, highest, peaked=peaked)), ID)
    assert result.severity is severity
    assert result.layer == "attn"
    assert result.value == highest
    assert result.first_step == 20


def test_peaked_heads_alone_and_large_negative_logits_pass(chain: Chains) -> None:
    run = with_attention(chain(0), stalled(2.3, 120), 60.0, low=-5000.0)
    assert ID in diagnosed(run, detectors=[ID]).passed


def test_no_attention_is_said(chain: Chains) -> None:
    run = chain(2).losses(stalled(2.3, 120), every=4)
    assert "attention" in not_checked(diagnosed(run), ID).reason


def test_two_samples_are_too_few(chain: Chains) -> None:
    run = with_attention(chain(0), stalled(2.3, 120), 3000.0, steps=range(0, 8, 4))
    assert "2 attention samples" in not_checked(diagnosed(run), ID).reason
