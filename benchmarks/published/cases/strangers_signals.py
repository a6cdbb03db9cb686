"""Strangers' loops: ends, latent numbers, distances, and what attention and states carry."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Trial, case
from published.keras_like import Compiled, adam, mean_squared_error
from published.material import accuracy, batches, digits, images, unexplained


class _Peptides(nn.Module):
    """Two recurrent layers and a number."""

    def __init__(self, end: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.lstm = nn.LSTM(16, 24, batch_first=True)
        self.head = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 1), end)
        nn.init.constant_(self.head[2].bias, -0.6)

    def forward(self, text: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(text if text.dim() == 3 else self.embed(text))[0][:, -1])
        return out


@case(
    "proteomics-ml-203",
    source="https://github.com/ProteomicsML/ProteomicsML/pull/203",
    wrong="a ReLU after the last linear layer of a regression: with an unlucky start it gives 0 "
    "for all peptides",
    mended="no activation at the end",
    ported="sums over ten letters in 0 to 1; the unlucky start is a bias of -.6",
)
def unlucky_rectified_end(trial: Trial) -> Reached:
    """A gradient that is nowhere."""
    text = torch.randint(20, (700, 10), generator=trial.generator)
    weight = torch.rand(20, generator=trial.generator)
    y = weight[text].mean(1)
    y = (y - y.min()) / (y.max() - y.min())
    model = _Peptides(trial.pick(nn.ReLU(), fixed=nn.Identity()))
    compiled = Compiled(
        trial=trial, model=model, optimizer=adam(model, 3e-3), loss_of=mean_squared_error
    )
    compiled.fit(
        text[:560], y[:560], epochs=12, batch_size=16, validation_data=(text[560:], y[560:])
    )
    return Reached(error=unexplained(compiled.predict(text[560:]), y[560:]))


@case(
    "pytorch-zero-to-all-4",
    source="https://github.com/hunkim/PyTorchZeroToAll/pull/4",
    wrong="the last of five linear layers is rectified too",
    mended="logits as they are",
    ported="digits, narrower; SGD .03, momentum .5 as there, 20 epochs of batches of 16",
)
def all_layers_are_rectified(trial: Trial) -> Reached:
    """Classes that can no longer be told."""
    data = digits()

    class _Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l1, self.l2, self.l3 = nn.Linear(64, 64), nn.Linear(64, 48), nn.Linear(48, 32)
            self.l4, self.l5 = nn.Linear(32, 24), nn.Linear(24, 10)

        def forward(self, x: Tensor) -> Tensor:
            for layer in (self.l1, self.l2, self.l3, self.l4):
                x = functional.relu(layer(x))
            out: Tensor = self.l5(x)
            return out if trial.fixed else functional.relu(out)

    model = _Net()
    optimizer = SGD(model.parameters(), lr=0.03, momentum=0.5)
    telemetry = trial.record(model, optimizer)
    for _ in range(20):
        for x, y in batches(data.x, data.y, 16, trial.generator):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))


@case(
    "tensorflow-projects-1",
    source="https://github.com/shekkizh/TensorflowProjects/pull/1",
    wrong="mu and log_var of the autoencoder are rectified",
    mended="both may be negative",
    ported="digits, eight latent numbers; a divergence of half its weight",
)
def rectified_latents(trial: Trial) -> Reached:
    """The noise is at least one."""
    data = digits()
    encode = nn.Sequential(nn.Linear(64, 96), nn.ReLU())
    mean_of, log_variance_of = nn.Linear(96, 8), nn.Linear(96, 8)
    decode = nn.Sequential(nn.Linear(8, 96), nn.ReLU(), nn.Linear(96, 64), nn.Sigmoid())
    end = trial.pick(nn.ReLU(), fixed=nn.Identity())
    model = nn.ModuleDict(
        {"encode": encode, "mu": mean_of, "log_var": log_variance_of, "end": end, "decode": decode}
    )
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(25):
        for x, _y in batches(data.x, data.y, 32, trial.generator):
            hidden = encode(x)
            mean, log_variance = end(mean_of(hidden)), end(log_variance_of(hidden))
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
            rebuilt = (decode(z) - x).square().sum(1).mean()
            kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
            loss = rebuilt + 0.1 * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, rebuilt=rebuilt, kl=kl)
    with torch.no_grad():
        hidden = encode(data.val_x)
        mean, log_variance = end(mean_of(hidden)), end(log_variance_of(hidden))
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return Reached(error=unexplained(decode(z), data.val_x))


@case(
    "video-triplet-8",
    source="https://github.com/xiaolonw/caffe-video_triplet/issues/8",
    wrong="the triplet loss is the margin for ever: embeddings are one point, the rate is too high",
    mended="a smaller rate",
    ported="digits, the hardest negative of the batch, SGD 2 and .02 with momentum .9",
)
def loss_is_the_margin(trial: Trial) -> Reached:
    """Everybody is everybody's neighbour."""
    data = images()
    margin = 0.5
    net = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 16)),
    )
    optimizer = SGD(net.parameters(), lr=trial.pick(2.0, fixed=0.02), momentum=0.9)
    telemetry = trial.record(net, optimizer)
    for _ in range(8):
        for x, y in batches(data.x, data.y, 40, trial.generator):
            embedded = net(x)
            far = (embedded[:, None] - embedded[None, :]).square().sum(-1)
            same = y[:, None] == y[None, :]
            positive = (far * same).amax(1)
            negative = far.masked_fill(same, math.inf).amin(1)
            loss = (positive - negative + margin).clamp_min(0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        far = torch.cdist(net(data.val_x), net(data.x)).nan_to_num(0.0)
    told = data.y[far.argmin(1)]
    return Reached(share=float((told == data.val_y).float().mean()))


class _Tiny(nn.Module):
    """Two layers of one head each, over words."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.embed, self.place = nn.Embedding(16, width), nn.Embedding(12, width)
        self.mixes = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.feeds = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU()) for _ in range(2)
        )
        self.out = nn.Linear(width, 16)
        self.register_buffer("future", torch.ones(12, 12, dtype=torch.bool).triu(1))
        self.future: Tensor

    def forward(self, text: Tensor) -> Tensor:
        hidden = self.embed(text) + self.place(torch.arange(text.shape[1]))
        for mix, feed in zip(self.mixes, self.feeds, strict=True):
            query, key, value = mix(hidden).chunk(3, -1)
            raw = self.scale * (query @ key.transpose(1, 2))
            seen = raw.masked_fill(self.future, -1e9).softmax(-1)
            hidden = hidden + seen @ value
            hidden = hidden + feed(hidden)
        out: Tensor = self.out(hidden)
        return out


@case(
    "tiny-transformers-71",
    source="https://github.com/PAIR-code/tiny-transformers/issues/71",
    wrong="raw attention is not divided by the square root of the width",
    mended="divided",
    ported="width 128, two layers, Adam .003; the next word is that after the last same word",
)
def attention_is_not_divided(trial: Trial) -> Reached:
    """Each place looks at one other."""
    n = 900
    text = torch.randint(16, (n, 13), generator=trial.generator)
    text[:, 7:] = text[:, :6]  # a line is said twice
    width = 128
    model = _Tiny(width, trial.pick(1.0, fixed=width**-0.5))
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for words, following in batches(text[:720, :-1], text[:720, 1:], 24, trial.generator):
            loss = functional.cross_entropy(model(words).flatten(0, 1), following.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        out = model(text[720:, :-1])[:, 6:].flatten(0, 1)
        return Reached(error=float(functional.cross_entropy(out, text[720:, 7:].flatten())))


@case(
    "sentence-vae-15",
    source="https://github.com/timbmg/Sentence-VAE/issues/15",
    wrong="the last states (directions, batch, width) are viewed as (batch, 2 x width)",
    mended="the states of the directions are put side by side",
    ported="which of four letters comes most often in texts of 12, by a GRU of both directions",
)
def states_of_other_texts(trial: Trial) -> Reached:
    """A text is told by its neighbours."""
    text = torch.randint(8, (1200, 12), generator=trial.generator)
    counts = torch.stack([(text == letter).sum(1) for letter in range(4)], 1)
    y = (counts + 0.1 * torch.rand(1200, 4, generator=trial.generator)).argmax(1)

    class _Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(8, 12)
            self.rnn = nn.GRU(12, 24, batch_first=True, bidirectional=True)
            self.out = nn.Linear(48, 4)

        def forward(self, words: Tensor) -> Tensor:
            hidden = self.rnn(self.embedding(words))[1]
            if trial.fixed:
                hidden = hidden.transpose(0, 1)
            out: Tensor = self.out(hidden.reshape(len(words), 48))
            return out

    model = _Encoder()
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(14):
        model.train()
        for words, label in batches(text[:1000], y[:1000], 32, trial.generator):
            loss = functional.cross_entropy(model(words), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            telemetry.log(val_loss=functional.cross_entropy(model(text[1000:]), y[1000:]))
    return Reached(share=accuracy(model, text[1000:], y[1000:]))
