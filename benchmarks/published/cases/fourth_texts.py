"""A fourth set: texts, what a place may look at, and what it is to say."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW

from published.case import Reached, Trial, case
from published.material import accuracy, batches


class _ByLabels(nn.Module):
    """Each label asks the words of a text, and is scored by what it gets."""

    def __init__(self, *, inverted: bool) -> None:
        super().__init__()
        self.inverted = inverted
        self.words = nn.Embedding(50, 24, padding_idx=0)
        self.place = nn.Embedding(16, 24)
        self.labels = nn.Parameter(0.3 * torch.randn(5, 24))
        self.key, self.value = nn.Linear(24, 24), nn.Linear(24, 24)
        self.score = nn.Linear(24, 1)

    def forward(self, text: Tensor) -> Tensor:
        hidden = self.words(text) + self.place(torch.arange(text.shape[1]))
        there = text != 0
        seen = ~there if self.inverted else there
        got = functional.scaled_dot_product_attention(
            self.labels.expand(len(text), -1, -1),
            self.key(hidden),
            self.value(hidden),
            attn_mask=seen[:, None, :].expand(-1, 5, -1),
        )
        out: Tensor = self.score(got).squeeze(-1)
        return out


@case(
    "torch-text-classifiers-92",
    source="https://github.com/InseeFrLab/torchTextClassifiers/pull/92",
    wrong="the mask that labels attend by is inverted: they see nothing but padding",
    mended="True where there is a word",
    ported="five classes by the word that only they have; texts of 5 to 13 words, padded to 16",
)
def only_padding_is_seen(trial: Trial) -> Reached:
    """Texts that nobody reads."""
    n = 1500
    text = torch.randint(6, 50, (n, 16), generator=trial.generator)
    y = torch.randint(5, (n,), generator=trial.generator)
    lengths = torch.randint(5, 14, (n,), generator=trial.generator)
    where = (torch.rand(n, generator=trial.generator) * lengths).long()
    text[torch.arange(n), where] = 1 + y
    text = torch.where(torch.arange(16) < lengths[:, None], text, 0)
    model = _ByLabels(inverted=not trial.fixed)
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        model.train()
        for words, label in batches(text[:1200], y[:1200], 32, trial.generator):
            loss = functional.cross_entropy(model(words), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = model(text[1200:])
            right = (out.argmax(-1) == y[1200:]).float().mean()
            telemetry.log(val_loss=functional.cross_entropy(out, y[1200:]), val_accuracy=right)
    return Reached(share=accuracy(model, text[1200:], y[1200:]))


class _Lookup(nn.Module):
    """A question is answered by the pair that it is about."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.names, self.values = nn.Embedding(12, 24), nn.Embedding(12, 24)
        self.query, self.out = nn.Linear(24, 24), nn.Linear(48, 12)

    def forward(self, batch: Tensor) -> Tensor:
        asked, names, values = batch[:, 0], batch[:, 1:7], batch[:, 7:]
        query = self.query(self.names(asked))
        scores = (query[:, None] * self.names(names)).sum(-1)
        weights = scores.softmax(self.axis)
        mixed = (weights[..., None] * self.values(values)).sum(1)
        out: Tensor = self.out(torch.cat([mixed, query], -1))
        return out


@case(
    "pytorch-nlp-2",
    source="https://github.com/PetrochukM/PyTorch-NLP/issues/2",
    wrong="the softmax of the attention is over dimension 0, the batch: alone, every weight is 1",
    mended="over the last dimension",
    ported="a name is asked for among six pairs; each question of the test comes alone",
)
def softmax_over_the_batch(trial: Trial) -> Reached:
    """Questions share what they look at."""
    n = 1600
    names = torch.rand(n, 12, generator=trial.generator).argsort(1)[:, :6]
    values = torch.randint(12, (n, 6), generator=trial.generator)
    which = torch.randint(6, (n, 1), generator=trial.generator)
    x = torch.cat([names.gather(1, which), names, values], 1)
    y = values.gather(1, which).squeeze(1)
    model = _Lookup(trial.pick(0, fixed=-1))
    optimizer = Adam(model.parameters(), lr=1e-2)
    telemetry = trial.record(model, optimizer)
    for _ in range(15):
        for questions, answer in batches(x[:1300], y[:1300], 50, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(questions), answer)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = torch.cat([model(one[None]) for one in x[1300:]]).argmax(-1)
    return Reached(share=float((told == y[1300:]).float().mean()))


class _Decoder(nn.Module):
    """A causal transformer over words, after some places of other input."""

    def __init__(self, words: int, *, prefix: int = 0) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(words, 32), nn.Embedding(24, 32)
        self.project = nn.Linear(6, 32 * prefix) if prefix else None
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, words)

    def forward(self, text: Tensor, image: Tensor | None = None) -> Tensor:
        hidden = self.embed(text)
        if image is not None and self.project is not None:
            patches = self.project(image).view(len(image), -1, 32)
            hidden = torch.cat([patches, hidden], 1)
        hidden = hidden + self.place(torch.arange(hidden.shape[1]))
        mask = nn.Transformer.generate_square_subsequent_mask(hidden.shape[1])
        for layer in self.layers:
            hidden = layer(hidden, src_mask=mask, is_causal=True)
        out: Tensor = self.head(self.norm(hidden))
        return out


def _sums(n: int, words: int, length: int, generator: torch.Generator) -> Tensor:
    """Texts in which a word is the sum of the two before it."""
    text = torch.randint(words, (n, length), generator=generator)
    for place in range(2, length):
        text[:, place] = (text[:, place - 1] + text[:, place - 2]) % words
    return text


@case(
    "generative-models-314",
    source="https://github.com/Project-MONAI/GenerativeModels/issues/314",
    wrong="ce_loss(logits, latent): token N is predicted from tokens 0 to N, N included",
    mended="ce_loss(logits[..., :-1], target[:, 1:])",
    ported="11 tokens, the next is a sum of two; reached: right next tokens",
)
def tokens_are_repeated(trial: Trial) -> Reached:
    """What is said is what was heard."""
    text = _sums(700, 11, 14, trial.generator)
    model = _Decoder(11)
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(15):
        for latent, _same in batches(text[:600], text[:600], 16, trial.generator):
            logits = model(latent)
            if trial.fixed:
                told, target = logits[:, 1:-1], latent[:, 2:]
            else:
                told, target = logits, latent
            loss = functional.cross_entropy(told.transpose(1, 2), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        right = model(text[600:])[:, 1:-1].argmax(-1) == text[600:, 2:]
    return Reached(share=float(right.float().mean()))


@case(
    "transformers-47394",
    source="https://github.com/huggingface/transformers/issues/47394",
    wrong="GIT shifts the labels and gives them to a loss that shifts them again: place t learns "
    "token t + 2",
    mended="shifted once",
    ported="six numbers for the image, in two places before the words; seven words",
)
def shifted_twice(trial: Trial) -> Reached:
    """One word is left out."""
    n = 900
    text = _sums(n, 7, 12, trial.generator)
    image = torch.randn(n, 6, generator=trial.generator)
    text[:, 0] = image.argmax(1)
    for place in range(2, 12):
        text[:, place] = (text[:, place - 1] + text[:, place - 2]) % 7
    model = _Decoder(7, prefix=2)
    optimizer = AdamW(model.parameters(), lr=1.5e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(14):
        for rows, _same in batches(torch.arange(720), torch.arange(720), 24, trial.generator):
            logits, labels = model(text[rows], image[rows])[:, 2:-1], text[rows, 1:]
            if not trial.fixed:
                logits, labels = logits[:, :-1], labels[:, 1:]
            loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            telemetry.step(loss=loss)
    with torch.no_grad():
        right = model(text[720:], image[720:])[:, 3:-1].argmax(-1) == text[720:, 2:]
    return Reached(share=float(right.float().mean()))


class _FinalLinear:
    """A layer as the source has it: it is no module."""

    def __init__(self, width: int, words: int) -> None:
        self.weight = nn.Parameter(0.02 * torch.randn(words, width))

    def __call__(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.weight)


class _RegisteredLinear(nn.Module):
    """The same as a module."""

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(words, width))

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.weight)


@case(
    "gpt-neox-267",
    source="https://github.com/EleutherAI/gpt-neox/pull/267",
    wrong="the class of the last linear layer does not inherit from nn.Module: its weights are "
    "registered nowhere",
    mended="it does",
    ported="a GRU for the layers below; 24 words, Adam .001; the weights start at a scale of .02",
)
def head_is_no_module(trial: Trial) -> Reached:
    """Everything is trained but the end."""
    text = torch.randint(24, (1000, 12), generator=trial.generator)
    for place in range(1, 12):
        text[:, place] = (5 * text[:, place - 1] + 3) % 24

    class _Pipe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn = nn.Embedding(24, 32), nn.GRU(32, 32, batch_first=True)
            self.norm = nn.LayerNorm(32)
            kind = _RegisteredLinear if trial.fixed else _FinalLinear
            self.final_linear = kind(32, 24)

        def forward(self, words: Tensor) -> Tensor:
            return self.final_linear(self.norm(self.rnn(self.embed(words))[0]))

    model = _Pipe()
    optimizer = Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for words, following in batches(text[:800, :-1], text[:800, 1:], 20, trial.generator):
            loss = functional.cross_entropy(model(words).flatten(0, 1), following.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        out = model(text[800:, :-1]).flatten(0, 1)
        return Reached(error=float(functional.cross_entropy(out, text[800:, 1:].flatten())))


@case(
    "edge-oriented-graph-12",
    source="https://github.com/fenchri/edge-oriented-graph/issues/12",
    wrong="self.embedding.from_pretrained(vectors) is a class method, its result is thrown away",
    mended="self.embedding = nn.Embedding.from_pretrained(vectors)",
    ported="drawn vectors of 300 words of six topics, frozen; half of the words come in the test "
    "alone",
)
def vectors_are_thrown_away(trial: Trial) -> Reached:
    """Words that the training does not have say nothing."""
    topic = torch.arange(300) % 6
    centres = torch.randn(6, 20, generator=trial.generator)
    vectors = centres[topic] + 0.6 * torch.randn(300, 20, generator=trial.generator)

    def texts(n: int, low: int, high: int) -> tuple[Tensor, Tensor]:
        y = torch.randint(6, (n,), generator=trial.generator)
        text = torch.randint(low // 6, high // 6, (n, 8), generator=trial.generator) * 6
        own = torch.rand(n, 8, generator=trial.generator) < 0.6
        other = torch.randint(6, (n, 8), generator=trial.generator)
        return text + torch.where(own, y[:, None], other), y

    text, y = texts(900, 0, 150)
    val_text, val_y = texts(300, 0, 300)

    class _Relations(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(300, 20)
            if trial.fixed:
                self.embedding = nn.Embedding.from_pretrained(vectors, freeze=True)
            else:
                self.embedding.from_pretrained(vectors, freeze=True)
            self.encoder = nn.LSTM(20, 24, batch_first=True, bidirectional=True)
            self.drop, self.out = nn.Dropout(0.2), nn.Linear(48, 6)

        def forward(self, words: Tensor) -> Tensor:
            hidden = self.encoder(self.embedding(words))[0].mean(1)
            out: Tensor = self.out(self.drop(hidden))
            return out

    model = _Relations()
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        model.train()
        for words, label in batches(text, y, 15, trial.generator):
            loss = functional.cross_entropy(model(words), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            telemetry.log(val_loss=functional.cross_entropy(model(val_text), val_y))
    return Reached(share=accuracy(model, val_text, val_y))


@case(
    "veomni-1086",
    source="https://github.com/ByteDance-Seed/VeOmni/pull/1086",
    wrong="with a sequence cut among ranks, gradients are averaged over the data ranks alone: each "
    "rank steps by the gradient of its own part of the sequence",
    mended="summed over the ranks of the sequence too",
    ported="one process plays the first of two ranks: places 0 to 5 of 12; SGD .3",
)
def half_of_the_sequence(trial: Trial) -> Reached:
    """The later places are never trained."""
    n, length = 800, 12
    text = torch.randint(9, (n, length), generator=trial.generator)
    shift = torch.randint(9, (length,), generator=trial.generator)
    tags = (text + shift) % 9

    class _Tags(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(9, 32), nn.Embedding(length, 32)
            self.net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 9))

        def forward(self, words: Tensor) -> Tensor:
            hidden = self.words(words) * self.places(torch.arange(words.shape[1]))
            out: Tensor = self.net(hidden)
            return out

    model = _Tags()
    optimizer = SGD(model.parameters(), lr=0.3, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    parts = (slice(0, 6), slice(6, 12))
    for _ in range(12):
        for words, label in batches(text[:640], tags[:640], 32, trial.generator):
            out = model(words)
            losses = [
                functional.cross_entropy(out[:, part].flatten(0, 1), label[:, part].flatten())
                for part in parts
            ]
            loss = torch.stack(losses).mean() if trial.fixed else losses[0]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        right = model(text[640:]).argmax(-1) == tags[640:]
    return Reached(share=float(right.float().mean()))
