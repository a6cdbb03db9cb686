"""Attention that sees the answer is told from attention that may see all."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from telemetry.capture.structure.future import Future, future
from telemetry.capture.structure.graph import graph_of
from telemetry.capture.tensors.loss_graph import losses_of

pytestmark = pytest.mark.torch
N, B, T, D = 9, 4, 6, 8
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Model(nn.Module):
    """Words, attention over them, and a head."""

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.words = nn.Embedding(N, D)
        self.sources = nn.Embedding(N, D)
        self.project = nn.Linear(D, 3 * D)
        self.head = nn.Linear(D, N)
        self.attend = attend

    def attended(self, x: Tensor) -> Tensor:
        return x + self.attend(*self.project(x).chunk(3, -1))

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.head(self.attended(self.words(words)))
        return out


def fused(query: Tensor, key: Tensor, value: Tensor, **options: Tensor | bool) -> Tensor:
    heads = [each.unflatten(-1, (2, -1)).transpose(1, 2) for each in (query, key, value)]
    out = functional.scaled_dot_product_attention(*heads, **options)  # type: ignore[arg-type]
    return out.transpose(1, 2).flatten(2)


def by_hand(level: float) -> Attend:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = query @ key.mT
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return scores.masked_fill(later, level).softmax(-1) @ value

    return attend


def open_to_all(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return fused(query, key, value)


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return fused(query, key, value, is_causal=True)


def masked(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return fused(query, key, value, attn_mask=torch.ones(T, T, dtype=torch.bool).tril())


def text() -> Tensor:
    return torch.randint(N, (B, T + 1), generator=torch.Generator().manual_seed(0))


def told(scores: Tensor, targets: Tensor) -> Future | None:
    loss = functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
    graph = graph_of([loss], limit=1000)
    assert graph is not None
    return future(graph, losses_of([loss]))


def seen(scores: Tensor, targets: Tensor) -> tuple[float, float | None] | None:
    """Share of next tokens, and of later places that are open."""
    found = told(scores, targets)
    if found is None:
        return None
    return found.next_share.item(), None if found.seen_share is None else found.seen_share.item()


def own(scores: Tensor, targets: Tensor) -> float:
    """Share of tokens that the model is to tell at the places at which it reads them."""
    found = told(scores, targets)
    assert found is not None
    return found.own_share.item()


@pytest.mark.parametrize(
    ("attend", "share"),
    [
        (open_to_all, 1.0),
        (by_hand(0.0), 1.0),
        (causal, 0.0),
        (masked, 0.0),
        (by_hand(-torch.inf), 0.0),
        (by_hand(-1e9), 0.0),
    ],
    ids=["no mask", "zeros", "is_causal", "mask", "by hand", "a large number"],
)
def test_a_model_of_the_next_token(attend: Attend, share: float) -> None:
    words = text()
    assert seen(Model(attend)(words[:, :-1]), words[:, 1:]) == (1.0, share)


def test_labels_that_the_model_shifts_itself() -> None:
    words = text()[:, :T]
    assert seen(Model(open_to_all)(words)[:, :-1], words[:, 1:]) == (1.0, 1.0)


def test_texts_with_time_first() -> None:
    words = text().T.contiguous()
    model = Model(open_to_all)
    scores = model.head(model.attended(model.words(words[:-1]).transpose(0, 1))).transpose(0, 1)
    assert seen(scores, words[1:]) == (1.0, 1.0)


def test_an_encoder_of_hidden_words() -> None:
    words = text()[:, :T]
    hidden = torch.arange(T) % 3 == 0
    targets = words.masked_fill(~hidden, -100)
    assert seen(Model(open_to_all)(words.masked_fill(hidden, 0)), targets) == (0.0, 0.0)


def test_an_open_prompt_whose_targets_do_not_count() -> None:
    words, prompt = text(), 3

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mask = torch.ones(T, T, dtype=torch.bool).tril()
        mask[:prompt, :prompt] = True
        return fused(query, key, value, attn_mask=mask)

    targets = words[:, 1:].clone()
    targets[:, : prompt - 1] = -100
    share = seen(Model(attend)(words[:, :-1]), targets)
    assert share == (1.0, 0.0)


def test_an_encoder_beside_a_decoder_with_a_mask() -> None:
    words, model = text(), Model(causal)
    given = words[:, :-1]
    source = model.sources(text()[:, :T].flip(0))
    memory = source + open_to_all(source, source, source)
    states = model.attended(model.words(given))
    states = states + open_to_all(states, memory, memory)
    assert seen(model.head(states), words[:, 1:]) == (1.0, 0.0)


def test_an_encoder_that_is_pooled_beside_a_recurrent_decoder() -> None:
    """It may see the whole text, of which it tells one vector."""
    words, model = text(), Model(open_to_all)
    decoder = nn.GRU(D, D, batch_first=True)
    given = model.words(words[:, :-1])
    pooled = model.attended(given).mean(1)
    assert seen(model.head(decoder(given, pooled[None])[0]), words[:, 1:]) == (1.0, None)


def test_a_recurrent_model_has_no_attention() -> None:
    words, model = text(), Model(causal)
    states = nn.LSTM(D, D, batch_first=True)(model.words(words[:, :-1]))[0]
    assert seen(model.head(states), words[:, 1:]) == (1.0, None)


def test_classes_of_texts_are_no_tokens() -> None:
    model = Model(open_to_all)
    scores = model(text()[:, :T]).mean(1, keepdim=True)
    assert seen(scores, torch.zeros(B, 1, dtype=torch.long)) is None


def test_a_mask_that_a_checkpoint_hides_is_not_read() -> None:
    words, model = text(), Model(masked)
    x = model.words(words[:, :-1])
    states = checkpoint(model.attended, x, use_reentrant=False)
    assert isinstance(states, Tensor)
    scores = model.head(states)
    assert seen(scores, words[:, 1:]) == (1.0, None)
    scores.sum().backward()


def test_targets_that_are_the_tokens_of_their_places() -> None:
    words, model = text()[:, :T], Model(causal)
    assert own(model(words), words) == 1.0
    places = torch.arange(T).expand(B, T)  # an embedding reads them as well
    assert own(model.head(model.attended(model.words(words) + model.sources(places))), words) == 1.0
    states = nn.LSTM(D, D, batch_first=True)(model.words(words))[0]
    assert own(model.head(states), words) == 1.0


def test_other_targets_are_not() -> None:
    words, model = text(), Model(causal)
    assert own(model(words[:, :-1]), words[:, 1:]) < 1
    hidden = torch.arange(T) % 3 == 0
    given = words[:, :T]
    targets = given.masked_fill(~hidden, -100)
    assert own(model(given.masked_fill(hidden, 0)), targets) < 1


def test_a_text_that_is_put_into_one_vector() -> None:
    """Telling it from that is a task."""
    words, model = text()[:, :T], Model(causal)
    place = model.sources(torch.arange(T))
    pooled = model.attended(model.words(words)).mean(1, keepdim=True)
    assert own(model.head(pooled + place), words) == 0
    last = nn.LSTM(D, D, batch_first=True)(model.words(words))[1][0]
    assert own(model.head(last.transpose(0, 1) + place), words) == 0


def test_a_decoder_that_reads_shifted_tokens_beside_an_encoder() -> None:
    words, model = text()[:, :T], Model(causal)
    memory = model.sources(words)
    states = model.attended(model.words(words.roll(1, 1)))
    states = states + open_to_all(states, memory, memory)
    assert own(model.head(states), words) < 1
