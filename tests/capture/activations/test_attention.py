"""Attention logits and entropies against loops over rows, keys and heads in Python."""

import math
from collections.abc import Callable

import pytest
import torch
from observed import Row, observed_step, rows_of, site, sites
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from telemetry.capture.activations.attention import MAX_ROWS, FusedAttention, measure_fused
from telemetry.capture.activations.observer import ModuleObserver

BATCH, HEADS, ROWS, KEYS, WIDTH = 2, 4, 6, 9, 8


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Attend(nn.Module):
    """Attention over given queries and keys; the parameter makes it trainable."""

    def __init__(self, attend: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.attend = attend

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return self.attend(query * self.gain, key)


def attention_row(attend: Callable[[Tensor, Tensor], Tensor], query: Tensor, key: Tensor) -> Row:
    model = Attend(attend)
    return site(observed_step(model, lambda: model(query, key)), "", "attention_logits")


def expected(logits: Tensor, kept: Tensor) -> tuple[float, float, float, float]:
    """Smallest and largest logit, mean entropy and share of peaked heads.

    Args:
        logits: Shape (batch, heads, rows, keys).
        kept: The same shape.
    """
    low, high = math.inf, -math.inf
    heads = []
    for head in range(logits.shape[1]):
        entropies = []
        for example in range(logits.shape[0]):
            for row in range(logits.shape[2]):
                places = [k for k in range(logits.shape[3]) if kept[example, head, row, k]]
                values = [float(logits[example, head, row, k]) for k in places]
                low, high = min([low, *values]), max([high, *values])
                if len(values) > 1:
                    top = max(values)
                    weights = [math.exp(value - top) for value in values]
                    shares = [weight / sum(weights) for weight in weights]
                    entropy = -sum(share * math.log(share) for share in shares if share > 0)
                    entropies.append(entropy / math.log(len(values)))
        if entropies:
            heads.append(sum(entropies) / len(entropies))
    peaked = sum(entropy <= 0.05 for entropy in heads) / len(heads)
    return low, high, sum(heads) / len(heads), peaked


def check(row: Row, logits: Tensor, kept: Tensor | None = None) -> None:
    everything = torch.ones_like(logits, dtype=torch.bool)
    low, high, entropy, peaked = expected(
        logits.double(), everything if kept is None else everything & kept
    )
    assert row["min"] == pytest.approx(low, rel=1e-5, abs=1e-6)
    assert row["max"] == pytest.approx(high, rel=1e-5, abs=1e-6)
    assert row["absmax"] == pytest.approx(max(high, -low), rel=1e-5)
    assert row["entropy"] == pytest.approx(entropy, rel=1e-5)
    assert row["peaked_share"] == pytest.approx(peaked)
    assert row["n_units"] == logits.shape[1]


QUERY, KEY = normal(BATCH, HEADS, ROWS, WIDTH), normal(BATCH, HEADS, KEYS, WIDTH, seed=1)
LOGITS = QUERY @ KEY.mT / math.sqrt(WIDTH)
SEEN = normal(BATCH, 1, ROWS, KEYS, seed=2) > -0.5
BIAS = normal(HEADS, ROWS, KEYS, seed=3)
CAUSAL = torch.ones(ROWS, KEYS).tril().bool()
sdpa = functional.scaled_dot_product_attention


@pytest.mark.parametrize("backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
@pytest.mark.parametrize(
    ("attend", "logits", "kept"),
    [
        (lambda q, k: sdpa(q, k, k), LOGITS, None),
        (lambda q, k: sdpa(q, k, k, is_causal=True), LOGITS, CAUSAL),
        (lambda q, k: sdpa(q, k, k, attn_mask=SEEN), LOGITS, SEEN),
        (lambda q, k: sdpa(q, k, k, attn_mask=BIAS), LOGITS + BIAS, None),
        (lambda q, k: sdpa(q, k, k, scale=3.0), LOGITS * 3 * math.sqrt(WIDTH), None),
        (lambda q, k: sdpa(q, k, k, dropout_p=0.5), LOGITS, None),
    ],
    ids=["plain", "causal", "bool mask", "bias", "scale", "dropout"],
)
def test_scaled_dot_product_attention_of_all_backends(
    attend: Callable[[Tensor, Tensor], Tensor],
    logits: Tensor,
    kept: Tensor | None,
    backend: SDPBackend,
) -> None:
    with sdpa_kernel([backend, SDPBackend.MATH]):
        check(attention_row(attend, QUERY, KEY), logits, kept)


@pytest.mark.parametrize("backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
def test_heads_that_share_keys(backend: SDPBackend) -> None:
    key = normal(BATCH, 2, KEYS, WIDTH, seed=1)

    def attend(query: Tensor, key: Tensor) -> Tensor:
        return sdpa(query, key, key, attn_mask=BIAS, enable_gqa=True)

    logits = QUERY @ key.repeat_interleave(2, dim=1).mT / math.sqrt(WIDTH) + BIAS
    with sdpa_kernel([backend, SDPBackend.MATH]):
        check(attention_row(attend, QUERY, key), logits)


def explicit(query: Tensor, key: Tensor) -> Tensor:
    weights = (query @ key.mT / math.sqrt(WIDTH)).softmax(-1)
    return weights @ key


def masked(value: float) -> Callable[[Tensor, Tensor], Tensor]:
    def attend(query: Tensor, key: Tensor) -> Tensor:
        scores = (query @ key.mT / math.sqrt(WIDTH)).masked_fill(~SEEN, value)
        return functional.softmax(scores, dim=-1, dtype=torch.float32) @ key

    return attend


def test_explicit_softmax_attention() -> None:
    check(attention_row(explicit, QUERY, KEY), LOGITS)


@pytest.mark.parametrize("value", [-math.inf, torch.finfo(torch.float32).min, -1e9, -1e4])
def test_masked_entries_do_not_count(value: float) -> None:
    check(attention_row(masked(value), QUERY, KEY), LOGITS, SEEN)


@pytest.mark.parametrize("value", [-math.inf, -1e9])
def test_fully_masked_rows_do_not_count(value: float) -> None:
    kept = SEEN.clone()
    kept[0, :, 2] = False

    def attend(query: Tensor, key: Tensor) -> Tensor:
        scores = (query @ key.mT / math.sqrt(WIDTH)).masked_fill(~kept, value)
        return torch.softmax(scores, dim=-1).nan_to_num() @ key

    check(attention_row(attend, QUERY, KEY), LOGITS, kept)


def test_a_softmax_module_is_the_site_itself() -> None:
    class Explicit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))
            self.normalise = nn.Softmax(dim=-1)

        def forward(self, query: Tensor, key: Tensor) -> Tensor:
            return self.normalise(self.gain * query @ key.mT / math.sqrt(WIDTH)) @ key

    model = Explicit()
    rows = observed_step(model, lambda: model(QUERY, KEY))
    check(site(rows, "normalise", "attention_logits"), LOGITS)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention_with_and_without_weights(*, need_weights: bool) -> None:
    torch.manual_seed(0)
    model = nn.MultiheadAttention(HEADS * WIDTH, HEADS, batch_first=True)
    inputs = normal(BATCH, ROWS, HEADS * WIDTH)
    padding = torch.zeros(BATCH, ROWS, dtype=torch.bool)
    padding[1, 4:] = True

    def forward() -> Tensor:
        result = model(inputs, inputs, inputs, key_padding_mask=padding, need_weights=need_weights)
        return result[0]

    row = site(observed_step(model, forward), "", "attention_logits")
    with torch.no_grad():
        projected = functional.linear(inputs, model.in_proj_weight, model.in_proj_bias)
    query, key, _ = (part.view(BATCH, ROWS, HEADS, WIDTH).transpose(1, 2) for part in
                     projected.chunk(3, dim=-1))  # fmt: skip
    check(row, query @ key.mT / math.sqrt(WIDTH), ~padding[:, None, None, :])


def test_heads_of_one_key_are_peaked() -> None:
    query = torch.ones(1, 2, 3, 4)
    key = torch.zeros(1, 2, 5, 4)
    key[:, 0, 1] = 1000.0  # head 0 sees key 1 alone, head 1 all alike
    row = attention_row(lambda q, k: sdpa(q, k, k), query, key)
    assert (row["absmax"], row["entropy"], row["peaked_share"]) == (2000.0, 0.5, 0.5)


@pytest.mark.parametrize(
    "softmax",
    [
        lambda x: nn.functional.linear(x, torch.ones(5, WIDTH)).softmax(-1),  # classes of a token
        lambda x: x.softmax(-1),
        lambda x: (x @ x.mT).softmax(1),  # not over keys
        lambda x: (x[0] @ x[0].mT).softmax(-1),
    ],
)
def test_other_softmaxes_are_no_attention(softmax: Callable[[Tensor], Tensor]) -> None:
    model = Attend(lambda query, _: softmax(query))
    rows = observed_step(model, lambda: model(normal(BATCH, ROWS, WIDTH), None))
    assert "attention_logits" not in sites(rows, "")


def test_rows_of_a_long_sequence_are_spread_over_it() -> None:
    query, key = torch.zeros(1, 1, 1000, 2), torch.ones(1, 1, 4, 2)
    query[0, 0, 999] = 7.0
    query[0, 0, 998] = 100.0  # between two rows that are looked at
    found = measure_fused(FusedAttention(query=query, key=key, scale=1.0))
    assert found is not None
    assert found.n <= MAX_ROWS * 4
    assert found.measures.high is not None
    assert found.measures.high.item() == 14.0


def test_what_is_looked_at_is_bounded() -> None:
    query = torch.zeros(64, 128, 256, 1).expand(64, 128, 256, 2)
    found = measure_fused(FusedAttention(query=query, key=query))
    assert found is not None
    assert found.n <= 1 << 18


def test_calls_of_one_module_become_one_row() -> None:
    model = Attend(lambda q, k: sdpa(q, k, k))
    peaked = 1000 * torch.eye(WIDTH).expand(1, HEADS, WIDTH, WIDTH)
    rows = observed_step(model, lambda: model(QUERY, KEY).sum() + model(peaked, peaked).sum())
    row = site(rows, "", "attention_logits")
    one = expected(LOGITS.double(), torch.ones_like(LOGITS, dtype=torch.bool))[2]
    n_rows = BATCH * ROWS
    assert row["entropy"] == pytest.approx(one * n_rows / (n_rows + WIDTH), rel=1e-5)
    assert row["max"] == pytest.approx(1e6 / math.sqrt(WIDTH))


def test_non_finite_queries_do_not_hide_the_rest() -> None:
    query = QUERY.clone()
    query[0, 0, 0, 0] = math.nan
    kept = torch.ones_like(LOGITS, dtype=torch.bool)
    kept[0, 0, 0] = False
    check(attention_row(lambda q, k: sdpa(q, k, k), query, KEY), LOGITS, kept)


@pytest.mark.parametrize("attend", [lambda q, k: sdpa(q, k, k, attn_mask=SEEN), explicit])
def test_logits_that_are_not_finite_are_counted_and_masks_are_not(
    attend: Callable[[Tensor, Tensor], Tensor],
) -> None:
    query, key = QUERY.clone(), KEY.clone()
    query[0, 0, 2, 0] = math.nan  # a whole row of logits
    query[1, 1, 3] = 0.0
    query[1, 1, 3, 0] = 1.0
    key[1, 1, 4, 0] = math.inf
    row = attention_row(attend, query, key)
    logits = query @ key.mT / math.sqrt(WIDTH)
    seen = SEEN.expand(logits.shape) if attend is not explicit else torch.ones_like(logits) > 0
    assert row["n_nan"] == int((logits.isnan() & seen).sum())
    assert row["n_inf"] == int((logits.isposinf() & seen).sum())
    assert int(str(row["n_nan"])) > 0
    assert attention_row(attend, QUERY, KEY)["n_nan"] == 0


@pytest.mark.parametrize("value", [-math.inf, -1e30])
def test_masks_are_not_counted_as_infinite(value: float) -> None:
    mask = torch.where(SEEN, 0.0, value)
    for attend in (
        lambda q, k: sdpa(q, k, k, attn_mask=mask),
        lambda q, k: (q @ k.mT + mask).softmax(-1) @ k,
    ):
        row = attention_row(attend, QUERY, KEY)
        assert (row["n_nan"], row["n_inf"]) == (0, 0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_is_seen_too(mode: Callable[[], torch.no_grad]) -> None:
    model = Attend(lambda q, k: sdpa(q, k, k, attn_mask=SEEN))
    observer = ModuleObserver(model)
    observer.begin(0)
    with mode():
        model(QUERY, KEY)
    observer.settle("eval")
    rows = rows_of(model, observer.end())
    check(site(rows, "", "attention_logits", "eval"), LOGITS, SEEN)


def test_half_precision_is_measured_in_full() -> None:
    model = Attend(explicit)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = observed_step(model, lambda: model(QUERY, KEY))
    row = site(rows, "", "attention_logits")
    assert row["entropy"] == pytest.approx(
        expected(LOGITS.double(), torch.ones_like(LOGITS, dtype=torch.bool))[2], rel=2e-2
    )
