"""A fourth set: graphs, tastes, and what is near what."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Trial, case
from published.material import accuracy, batches, digits


def _citations(
    trial: Trial, *, nodes: int, classes: int, inside: float, outside: float, spread: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, classes, and a symmetric matrix of edges without loops."""
    y = torch.randint(classes, (nodes,), generator=trial.generator)
    chance = torch.where(y[:, None] == y[None, :], inside, outside)
    edges = (torch.rand(nodes, nodes, generator=trial.generator) < chance).float().triu(1)
    x = spread * torch.randn(nodes, 20, generator=trial.generator)
    x[torch.arange(nodes), y] += 1.0
    return x, y, edges + edges.T


class _Convolutions(nn.Module):
    """Two rounds of what neighbours say."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(20, 16), nn.Linear(16, classes)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        hidden = self.drop(functional.relu(edges @ self.first(x)))
        out: Tensor = edges @ self.second(hidden)
        return out


def _train_on_nodes(trial: Trial, x: Tensor, y: Tensor, edges: Tensor, *, steps: int) -> Reached:
    """A sixth of the nodes has labels."""
    n = len(x)
    train, held, test = slice(0, n // 6), slice(n // 6, n // 2), slice(n // 2, n)
    model = _Convolutions(int(y.max()) + 1)
    optimizer = Adam(model.parameters(), lr=1e-2, weight_decay=5e-4)
    telemetry = trial.record(model, optimizer)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x, edges)[train], y[train])
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            telemetry.log(val_loss=functional.cross_entropy(model(x, edges)[held], y[held]))
    with torch.no_grad():
        right = model(x, edges)[test].argmax(-1) == y[test]
    return Reached(share=float(right.float().mean()))


@case(
    "graphnets-gcn-1",
    source="https://github.com/sufeidechabei/graphnets_gcn/issues/1",
    wrong="neighbours are summed up without the normalisation of the matrix: 41 percent on cora",
    mended="D^-1/2 A D^-1/2",
    ported="480 nodes of five classes, some with hundreds of neighbours; 200 steps, Adam .01",
)
def neighbours_are_summed(trial: Trial) -> Reached:
    """The loudest are those with most friends."""
    x, y, edges = _citations(trial, nodes=480, classes=5, inside=0.05, outside=0.008, spread=0.7)
    hubs = torch.rand(480, generator=trial.generator) < 0.04
    more = (torch.rand(480, 480, generator=trial.generator) < 0.5) & hubs[:, None]
    edges = ((edges + more + more.T) > 0).float().fill_diagonal_(1.0)
    if trial.fixed:
        degree = edges.sum(1).rsqrt()
        edges = degree[:, None] * edges * degree[None, :]
    return _train_on_nodes(trial, x, y, edges, steps=200)


@case(
    "wiki-cs-4",
    source="https://github.com/pmernyei/wiki-cs-dataset/issues/4",
    wrong="the loader adds no edges from nodes to themselves: a node does not see its own features",
    mended="added",
    ported="480 nodes of four classes with two or three neighbours each; 80 steps, Adam .01",
)
def no_edge_to_itself(trial: Trial) -> Reached:
    """Told by hearsay alone."""
    x, y, edges = _citations(trial, nodes=480, classes=4, inside=0.012, outside=0.003, spread=0.35)
    if trial.fixed:
        edges = edges.clone().fill_diagonal_(1.0)
    degree = edges.sum(1).clamp_min(1).rsqrt()
    return _train_on_nodes(trial, x, y, degree[:, None] * edges * degree[None, :], steps=80)


@case(
    "librec-179",
    source="https://github.com/guoguibing/librec/issues/179",
    wrong="the sum X of a user's item vectors is made outside of the loop over samples: it keeps "
    "what those before left in it",
    mended="made anew for each sample",
    ported="FISM with 50 items of rank 6; the samples of a batch of 32 share one X; reached: the "
    "squared error of ratings over their variance",
)
def sum_of_the_samples_before(trial: Trial) -> Reached:
    """Everybody has seen everything."""
    items, n = 50, 1600
    taste = torch.randn(items, 3, generator=trial.generator)
    seen = torch.rand(n, items, generator=trial.generator).argsort(1)[:, :8]
    asked = torch.randint(items, (n,), generator=trial.generator)
    liked = taste[seen].mean(1)
    rating = (3 * liked * taste[asked]).sum(1) + 0.2 * torch.randn(n, generator=trial.generator)

    class _Fism(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p, self.q = nn.Embedding(items, 6), nn.Embedding(items, 6)
            self.bias = nn.Embedding(items, 1)
            nn.init.zeros_(self.bias.weight)
            for part in (self.p, self.q):
                nn.init.normal_(part.weight, std=0.3)

        def forward(self, history: Tensor, item: Tensor) -> Tensor:
            total = self.p(history).sum(1)
            if not trial.fixed:
                total = total + (total.cumsum(0) - total).detach()
            score: Tensor = (total * self.q(item)).sum(1) / 8**0.5
            return score + self.bias(item).squeeze(1)

    model = _Fism()
    optimizer = Adam(model.parameters(), lr=1e-2, weight_decay=1e-5)
    telemetry = trial.record(model, optimizer)
    for _ in range(14):
        for rows, target in batches(torch.arange(1300), rating[:1300], 32, trial.generator):
            loss = functional.mse_loss(model(seen[rows], asked[rows]), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = torch.cat([model(seen[k : k + 1], asked[k : k + 1]) for k in range(1300, n)])
    held = rating[1300:]
    return Reached(error=float(functional.mse_loss(told, held) / held.var()))


@case(
    "paddlerec-818",
    source="https://github.com/PaddlePaddle/PaddleRec/pull/818",
    wrong="NCF draws its negative samples once: they are the same in each epoch",
    mended="drawn anew in each epoch",
    ported="90 users, 80 items, four negatives for each positive; reached: how often the item that "
    "was held back is among the first ten of 80",
)
def negatives_are_drawn_once(trial: Trial) -> Reached:
    """Items that nobody asked about."""
    users, items = 90, 80
    taste = torch.randn(users, 3, generator=trial.generator)
    kind = torch.randn(items, 3, generator=trial.generator)
    score = taste @ kind.T + 0.2 * torch.randn(users, items, generator=trial.generator)
    best = score.topk(9, 1).indices
    order = torch.rand(users, 9, generator=trial.generator).argsort(1)
    best = best.gather(1, order)
    own, held = best[:, :8], best[:, 8]
    known = torch.zeros(users, items, dtype=torch.bool).scatter_(1, own, value=True)
    user = torch.arange(users).repeat_interleave(8)

    class _Collaborative(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users, self.items = nn.Embedding(users, 16), nn.Embedding(items, 16)
            self.net = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
            self.predict = nn.Linear(17, 1)

        def forward(self, person: Tensor, item: Tensor) -> Tensor:
            one, two = self.users(person), self.items(item)
            deep = self.net(torch.cat([one, two], -1))
            out: Tensor = self.predict(torch.cat([one * two, deep], -1)).squeeze(-1)
            return out

    def drawn() -> Tensor:
        lots = torch.rand(len(user), items, generator=trial.generator)
        return lots.masked_fill(known[user], -1.0).topk(4, 1).indices

    model = _Collaborative()
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    negatives = drawn()
    for _ in range(45):
        if trial.fixed:
            negatives = drawn()
        pairs = torch.cat([own.reshape(-1, 1), negatives], 1)
        yes = torch.zeros(pairs.shape)
        yes[:, 0] = 1.0
        for chosen, _same in batches(torch.arange(len(user)), user, 64, trial.generator):
            out = model(user[chosen, None].expand(-1, 5), pairs[chosen])
            loss = functional.binary_cross_entropy_with_logits(out, yes[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        everything = model(
            torch.arange(users)[:, None].expand(-1, items), torch.arange(items).expand(users, -1)
        ).masked_fill(known, -math.inf)
    hit = (everything.topk(10, 1).indices == held[:, None]).any(1)
    return Reached(share=float(hit.float().mean()))


@case(
    "paano-1",
    source="https://github.com/jinnnju/PaAno/issues/1",
    wrong="the diagonal is -inf as a likeness, which is +inf as a distance: the hardest negative "
    "is always the sample itself, and the loss 0",
    mended="+inf",
    ported="noisy pieces of six waves; reached: nearest pieces that are of the same wave",
)
def hardest_is_itself(trial: Trial) -> Reached:
    """Nothing is ever near enough."""
    y = torch.randint(6, (700,), generator=trial.generator)
    shift = 6.28 * torch.rand(700, 1, generator=trial.generator)
    time = torch.arange(32.0)

    def pieces() -> Tensor:
        wave = torch.sin(shift + (0.3 + 0.12 * y[:, None]) * time)
        return wave + 0.6 * torch.randn(700, 32, generator=trial.generator)

    one, two = pieces(), pieces()
    model = nn.Sequential(
        *(nn.Conv1d(1, 16, 7, padding=3), nn.ReLU(), nn.Conv1d(16, 16, 5, padding=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 12)),
    )

    def embedded(x: Tensor) -> Tensor:
        return functional.normalize(model(x[:, None]), dim=1)

    optimizer = Adam(model.parameters(), lr=5e-3)
    telemetry = trial.record(model, optimizer)
    filled = trial.pick(-math.inf, fixed=math.inf)
    for _ in range(15):
        for anchor, positive in batches(one[:500], two[:500], 50, trial.generator):
            first, second = embedded(anchor), embedded(positive)
            likeness = first @ second.T
            near = 1 - likeness.diagonal()
            off = likeness.clone()
            off.diagonal().fill_(filled)
            far = (1 - off).max(1).values
            loss = functional.relu(near - far + 0.5).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        apart = torch.cdist(embedded(one[500:]), embedded(one[:500]))
    return Reached(share=float((y[:500][apart.argmin(1)] == y[500:]).float().mean()))


@case(
    "similarity-237",
    source="https://github.com/tensorflow/similarity/issues/237",
    wrong="l2_normalize(za) without an axis: the whole batch has length 1, and not each embedding",
    mended="axis=-1",
    ported="two views of 400 things by a non-linear mixing, temperature .1; reached: whether the "
    "nearest view is the right one",
)
def whole_batch_has_length_one(trial: Trial) -> Reached:
    """Likenesses of next to nothing."""
    things = torch.randn(400, 10, generator=trial.generator)
    mixing = torch.randn(10, 36, generator=trial.generator)

    def view(rows: Tensor) -> Tensor:
        clean = torch.tanh(0.6 * things[rows] @ mixing)
        return clean + 0.7 * torch.randn(clean.shape, generator=trial.generator)

    model = nn.Sequential(nn.Linear(36, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 16))
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    telemetry = trial.record(model, optimizer)

    def normalised(z: Tensor) -> Tensor:
        return functional.normalize(z, dim=-1) if trial.fixed else z / z.norm()

    for _ in range(30):
        model.train()
        for rows, _same in batches(torch.arange(300), torch.arange(300), 30, trial.generator):
            za, zb = normalised(model(view(rows))), normalised(model(view(rows)))
            both = torch.cat([za, zb])
            logits = (both @ both.T / 0.1).fill_diagonal_(-1e9)
            partner = torch.arange(len(both)).roll(len(rows))
            loss = functional.cross_entropy(logits, partner)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    model.eval()
    with torch.no_grad():
        held = torch.arange(300, 400)
        za, zb = (functional.normalize(model(view(held)), dim=-1) for _ in range(2))
    return Reached(share=float(((za @ zb.T).argmax(1) == torch.arange(100)).float().mean()))


@case(
    "proda-20",
    source="https://github.com/microsoft/ProDA/issues/20",
    wrong="kl_div of the student's softmax, and not of its logarithm",
    mended="log_softmax",
    ported="digits without labels, by a teacher that has seen them; SGD .05",
)
def divergence_without_logarithm(trial: Trial) -> Reached:
    """A divergence below zero."""
    data = digits()
    teacher = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    taught = Adam(teacher.parameters(), lr=3e-3)
    for _ in range(8):
        for x, y in batches(data.x[:700], data.y[:700], 32, trial.generator):
            taught.zero_grad()
            functional.cross_entropy(teacher(x), y).backward()
            taught.step()
    teacher.requires_grad_(requires_grad=False).eval()
    student = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=2e-4)
    telemetry = trial.record(student, optimizer)
    for _ in range(8):
        for x, _y in batches(data.x[700:], data.y[700:], 14, trial.generator):
            out = student(x)
            told = out.log_softmax(1) if trial.fixed else out.softmax(1)
            each = functional.kl_div(told, teacher(x).softmax(1), reduction="none")
            loss = each.sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(student, data.val_x, data.val_y))
