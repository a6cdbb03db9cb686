"""Faults and controls of attention logits and output logits."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import Bench, LanguageModel, digits, markov, mlp, train
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, AdamW


def _language(bench: Bench, *, rate: float, query_gain: float = 1.0, steps: int = 150) -> None:
    model = LanguageModel(30)
    with torch.no_grad():
        for block in model.blocks:
            width = block.self_attn.embed_dim
            block.self_attn.in_proj_weight[: 2 * width].mul_(query_gain)
    tokens = markov(bench.seed, 30, 20_000)
    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(steps):
            starts = torch.randint(len(tokens) - 33, (16,), generator=generator)
            rows = torch.stack([tokens[s : s + 33] for s in starts])
            yield rows[:, :-1], rows[:, 1:]

    train(
        bench,
        model,
        AdamW(model.parameters(), rate),
        batches(),
        loss_of=lambda out, y: functional.cross_entropy(out.flatten(0, 1), y.flatten()),
    )


@fault("F59", "attention_logits", "learning_rate_too_high", by=150)
def attention_high(bench: Bench) -> None:
    _language(bench, rate=bench.fault(0.1, without=3e-3))


@healthy("X59")
def large_queries(bench: Bench) -> None:
    """Logits of a hundred and one-hot attention, which order-1 text does not need."""
    _language(bench, rate=3e-3, query_gain=10.0)


@healthy("X60")
def scaled_cosines(bench: Bench) -> None:
    """Cosine logits times 30, as face recognition and CLIP have them: large by design."""

    class Cosines(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp((64, 64, 32))
            self.classes = nn.Parameter(torch.randn(10, 32))

        def forward(self, x: Tensor) -> Tensor:
            features = functional.normalize(self.net(x), dim=1)
            return 30 * features @ functional.normalize(self.classes, dim=1).T

    model = Cosines()
    data = digits()
    train(bench, model, Adam(model.parameters(), 1e-3), data.batches(bench.generator(), 64, 300))


def _penalised(bench: Bench, penalty: float, *, steps: int = 300) -> None:
    """Digits with bfloat16 logits and a z-loss that is not reported."""
    model = mlp((64, 64, 10))
    data = digits()
    optimizer = Adam(model.parameters(), 3e-3)
    with bench.record(model, optimizer, every=4, overhead_budget=None) as telemetry:
        for x, y in data.batches(bench.generator(), 64, steps):
            logits = model(x).bfloat16()
            loss = functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            (loss + penalty * logits.logsumexp(-1).square().mean()).backward()
            optimizer.step()
            telemetry.step(loss=loss)
            bench.result["loss"] = float(loss.detach())


@fault("Y23", "output_logits", by=220)
def rewarded_partition(bench: Bench) -> None:
    # Later the loss explodes: seen as a rate too high.
    _penalised(bench, bench.fault(-0.003, without=1e-4), steps=220)


@healthy("X61")
def penalised_partition(bench: Bench) -> None:
    _penalised(bench, 1e-4)


@healthy("X62")
def confident_in_bfloat16(bench: Bench) -> None:
    """A long, confident run on separable data in bfloat16: logits grow as the loss vanishes."""
    _penalised(bench, 0.0, steps=800)
