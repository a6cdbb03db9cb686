"""Strangers' loops: what is optimized, when, and in which mode."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR

from published.case import Reached, Trial, case
from published.material import accuracy, batches, digits


class _Tagger(nn.Module):
    """Words, those before and after, and a score for each tag."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(60, 24)
        self.encoder = nn.GRU(24, 24, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(48, 9)

    def forward(self, text: Tensor) -> Tensor:
        out: Tensor = self.fc(self.encoder(self.words(text))[0])
        return out


@case(
    "hvpnet-5",
    source="https://github.com/zjunlp/HVPNeT/issues/5",
    wrong="the group with the parameters of crf and fc is never appended to the optimizer's list",
    mended="parameters.append(params) after that group too",
    ported="a GRU without CRF for the encoder; its rate is small beside that of the head, as there",
)
def group_not_appended(trial: Trial) -> Reached:
    """A head that stays as it was drawn."""
    text = torch.randint(60, (900, 10), generator=trial.generator)
    tags = (text % 3) * 3 + text.roll(1, 1) % 3
    model = _Tagger()
    groups = []
    params = {"lr": 5e-4, "weight_decay": 1e-2, "params": list[nn.Parameter]()}
    params["params"] = [p for n, p in model.named_parameters() if not n.startswith("fc")]
    groups.append(params)
    head = {"lr": 5e-2, "weight_decay": 0.0, "params": list(model.fc.parameters())}
    if trial.fixed:
        groups.append(head)
    optimizer = AdamW(groups)
    telemetry = trial.record(model, optimizer)
    for _ in range(12):
        for words, tag in batches(text[:720], tags[:720], 16, trial.generator):
            loss = functional.cross_entropy(model(words).flatten(0, 1), tag.flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            telemetry.step(loss=loss)
    with torch.no_grad():
        right = model(text[720:]).argmax(-1) == tags[720:]
    return Reached(share=float(right.float().mean()))


class _Stack(nn.Module):
    """A small language model of layers that are switched on and off."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(8, 32), nn.Embedding(8, 32)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(4)
        )
        self.lm_head = nn.Linear(32, 8)

    def forward(self, text: Tensor) -> Tensor:
        hidden = self.embed(text) + self.place(torch.arange(text.shape[1]))
        mask = nn.Transformer.generate_square_subsequent_mask(text.shape[1])
        for layer in self.layers:
            hidden = layer(hidden, src_mask=mask, is_causal=True)
        out: Tensor = self.lm_head(hidden)
        return out


@case(
    "lmflow-726",
    source="https://github.com/OptimalScale/LMFlow/issues/726",
    wrong="the optimizer is made of what is not frozen then; layers thawed later never move",
    mended="made of all parameters; which layers are frozen changes each 20 steps",
    ported="four layers, one active at a time; the next word is the sum of two before it",
)
def thawed_too_late(trial: Trial) -> Reached:
    """Most layers stay random."""
    text = torch.randint(8, (1200, 9), generator=trial.generator)
    for place in range(3, 9):
        text[:, place] = (text[:, place - 1] + text[:, place - 3]) % 8
    model = _Stack()

    def switch(active: int) -> None:
        for number, layer in enumerate(model.layers):
            layer.requires_grad_(requires_grad=number == active)

    switch(0)
    chosen = [p for p in model.parameters() if p.requires_grad or trial.fixed]
    optimizer = AdamW(chosen, lr=3e-3)
    telemetry = trial.record(model, optimizer)
    step = 0
    for _ in range(14):
        for words, following in batches(text[:1000, :-1], text[:1000, 1:], 32, trial.generator):
            if step % 20 == 0:
                switch(int(torch.randint(4, (), generator=trial.generator)))
            loss = functional.cross_entropy(
                model(words)[:, 2:].flatten(0, 1), following[:, 2:].flatten()
            )
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            telemetry.step(loss=loss)
            step += 1
    with torch.no_grad():
        right = model(text[1000:, :-1])[:, 2:].argmax(-1) == text[1000:, 3:]
    return Reached(share=float(right.float().mean()))


@case(
    "byol-93",
    source="https://github.com/lucidrains/byol-pytorch/issues/93",
    wrong="the trainer calls zero_grad() right before optimizer.step()",
    mended="before the backward pass",
    ported="views of digits by noise; reached is the loss of new views",
)
def cleared_before_the_step(trial: Trial) -> Reached:
    """Gradients are computed and thrown away."""
    data = digits()
    encoder = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32))
    target = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32))
    target.load_state_dict(encoder.state_dict())
    target.requires_grad_(requires_grad=False)
    predictor = nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32))
    online = nn.Sequential(encoder, predictor)
    optimizer = Adam(online.parameters(), lr=1e-3)
    telemetry = trial.record(online, optimizer)

    def loss_of(x: Tensor) -> Tensor:
        one, two = (x + 0.3 * torch.randn(x.shape, generator=trial.generator) for _ in range(2))
        near = functional.cosine_similarity(online(one), target(two).detach(), dim=-1)
        far = functional.cosine_similarity(online(two), target(one).detach(), dim=-1)
        return (2 - 2 * near).mean() + (2 - 2 * far).mean()

    for _ in range(10):
        for x, _y in batches(data.x, data.y, 64, trial.generator):
            loss = loss_of(x)
            if trial.fixed:
                optimizer.zero_grad()
            loss.backward()
            if not trial.fixed:
                optimizer.zero_grad()
            optimizer.step()
            with torch.no_grad():
                for old, new in zip(target.parameters(), encoder.parameters(), strict=True):
                    old.lerp_(new, 0.01)
            telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=float(loss_of(data.val_x)))


@case(
    "tennis-court-7",
    source="https://github.com/yastrebksv/TennisCourtDetector/issues/7",
    wrong="base_trainer.py has no optimizer.zero_grad()",
    mended="added",
    ported="one bright spot on 12 x 12 noisy pixels for the corners of the court",
)
def heat_that_is_never_cleared(trial: Trial) -> Reached:
    """Heatmaps of key points."""
    n = 900
    where = torch.randint(1, 11, (n, 2), generator=trial.generator)
    rows = torch.arange(12.0)
    far = (rows[None, :, None] - where[:, :1, None]).square()
    far = far + (rows[None, None, :] - where[:, 1:, None].transpose(1, 2).mT).square()
    heat = (-far / 2).exp()[:, None]
    x = heat + 0.25 * torch.randn(heat.shape, generator=trial.generator)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8)),
        nn.Conv2d(8, 1, 3, padding=1),
    )
    criterion = nn.MSELoss()
    optimizer = Adam(model.parameters(), lr=1e-2, betas=(0.9, 0.999))
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        model.train()
        for image, wanted in batches(x[:700], heat[:700], 16, trial.generator):
            loss = criterion(torch.sigmoid(model(image)), wanted)
            if trial.fixed:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            telemetry.log(val_loss=criterion(torch.sigmoid(model(x[700:])), heat[700:]))
    with torch.no_grad():
        return Reached(error=float(criterion(torch.sigmoid(model(x[700:])), heat[700:])))


class _Boxes(nn.Module):
    """A grid of cells: whether there is something, where, how large and how turned."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.score, self.position = nn.Linear(64, 1), nn.Linear(64, 3)
        self.dimension, self.angle = nn.Linear(64, 3), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.backbone(x)
        parts = [self.position(hidden), self.dimension(hidden), self.angle(hidden)]
        return self.score(hidden).squeeze(-1), torch.cat(parts, -1)


@case(
    "oft-6",
    source="https://github.com/tom-roddick/oft/issues/6",
    wrong="a line left from a test: only the loss of the score is optimized, the total is shown",
    mended="the line is deleted",
    ported="vectors of 30 for the cells of the grid",
)
def only_the_score(trial: Trial) -> Reached:
    """Three heads of four get no gradient."""
    x = torch.randn(1500, 30, generator=trial.generator)
    boxes = torch.tanh(x @ (0.3 * torch.randn(30, 8, generator=trial.generator)))
    there = (x[:, :5].sum(1) > 0).float()
    y = torch.cat([there[:, None], boxes], 1)
    model = _Boxes()
    optimizer = Adam(model.parameters(), lr=1e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(12):
        for inputs, target in batches(x[:1200], y[:1200], 24, trial.generator):
            score, rest = model(inputs)
            score_loss = functional.binary_cross_entropy_with_logits(score, target[:, 0])
            wanted = target[:, 0, None] * (rest - target[:, 1:]).abs()
            total = score_loss + wanted.sum(1).mean()
            optimizer.zero_grad()
            (total if trial.fixed else score_loss).backward()
            optimizer.step()
            telemetry.step(loss=total, score=score_loss)
    with torch.no_grad():
        rest = model(x[1200:])[1]
        return Reached(error=float((rest - y[1200:, 1:]).abs().mean()))


@case(
    "pytorch-geometric-7745",
    source="https://github.com/pyg-team/pytorch_geometric/issues/7745",
    wrong="after to_hetero() the functional dropout has training=True, also after model.eval()",
    mended="training=self.training",
    ported="two rounds of means over neighbours by a matrix; three communities",
)
def dropout_for_ever(trial: Trial) -> Reached:
    """Evaluated with half of the units left out."""
    y = torch.randint(3, (400,), generator=trial.generator)
    chance = torch.where(y[:, None] == y[None, :], 0.03, 0.012)
    edges = (torch.rand(400, 400, generator=trial.generator) < chance).float()
    edges = ((edges + edges.T + torch.eye(400)) > 0).float()
    mean_of = edges / edges.sum(1, keepdim=True)
    x = torch.randn(400, 16, generator=trial.generator)
    x[torch.arange(400), y] += 1.0

    class _Communities(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 3)

        def forward(self, nodes: Tensor) -> Tensor:
            active = self.training if trial.fixed else True
            hidden = functional.relu(self.first(mean_of @ nodes))
            hidden = functional.dropout(hidden, 0.7, training=active)
            out: Tensor = self.second(mean_of @ hidden)
            return functional.dropout(out, 0.5, training=active)

    model = _Communities()
    optimizer = Adam(model.parameters(), lr=1e-2, weight_decay=5e-4)
    telemetry = trial.record(model, optimizer)
    train, held = slice(0, 250), slice(250, 400)
    for _ in range(200):
        model.train()
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x)[train], y[train])
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = model(x)[held]
            right = (out.argmax(-1) == y[held]).float().mean()
            telemetry.log(val_loss=functional.cross_entropy(out, y[held]), val_accuracy=right)
    return Reached(share=float(right))


@case(
    "h2o-llmstudio-663",
    source="https://github.com/h2oai/h2o-llmstudio/issues/663",
    wrong="the scheduler counts updates of ten accumulated batches, and is stepped each batch",
    mended="stepped with the optimizer",
    ported="digits; a warm-up and half a cosine, then nothing",
)
def stepped_with_the_batches(trial: Trial) -> Reached:
    """At a tenth of the run the rate is gone."""
    data = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = AdamW(model.parameters(), lr=3e-3)
    epochs, accumulation = 10, 10
    updates = epochs * 175 // accumulation

    def share(step: int) -> float:
        if step < updates // 20:
            return (step + 1) / (updates // 20)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / updates)))

    scheduler = LambdaLR(optimizer, share)
    telemetry = trial.record(model, optimizer)
    batch = 0
    for _ in range(epochs):
        for x, y in batches(data.x, data.y, 8, trial.generator):
            loss = functional.cross_entropy(model(x), y) / accumulation
            loss.backward()
            batch += 1
            if batch % accumulation == 0:
                optimizer.step()
                optimizer.zero_grad()
                telemetry.step(loss=loss * accumulation)
                if trial.fixed:
                    scheduler.step()
            if not trial.fixed:
                scheduler.step()
    return Reached(share=accuracy(model, data.val_x, data.val_y))
