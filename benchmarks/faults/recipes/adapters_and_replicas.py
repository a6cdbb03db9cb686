"""Adapters, a probability without epsilon, replicas, and a lost optimizer."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import os
from contextlib import ExitStack
from unittest.mock import patch

import torch
from material import Bench, ConvNet, digits, evaluation, mlp, train
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from recipes.healthy_basics import Adapter

MLP_3 = (64, 64, 64, 10)


@fault("F29", "unchanged_parameters", by=20, layers=("0", "2"))
def adapters_after_the_optimizer(bench: Bench) -> None:
    data = digits()
    model = mlp(MLP_3)
    for parameter in model.parameters():
        parameter.requires_grad_(requires_grad=False)
    optimizer = Adam(model[4].parameters(), 1e-2)
    for place in (0, 2):
        model[place] = Adapter(model[place], rank=4)
    if not bench.is_faulty:
        optimizer = Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    train(
        bench, model, optimizer, data.batches(bench.generator(), 64, 300),
        evaluate=evaluation(model, data),
    )  # fmt: skip
    bench.score(model, data)


@fault("F55", "non_finite", by=200)
def logarithm_of_a_probability(bench: Bench) -> None:
    """Probabilities of pairs, computed with a sigmoid, reach 1 in float32."""
    generator = bench.generator()
    users, items = nn.Embedding(200, 8), nn.Embedding(100, 8)
    model = nn.ModuleList([users, items])
    optimizer = Adam(model.parameters(), 0.05)
    likes = torch.rand(200, 100, generator=generator) < 0.3
    with bench.record(model, optimizer) as telemetry:
        for _ in range(400):
            user = torch.randint(200, (128,), generator=generator)
            item = torch.randint(100, (128,), generator=generator)
            score = 4 * (users(user) * items(item)).sum(-1)
            liked = likes[user, item]
            if bench.is_faulty:
                share = score.sigmoid()
                loss = -torch.where(liked, share.log(), (1 - share).log()).mean()
            else:
                loss = functional.binary_cross_entropy_with_logits(score, liked.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            bench.result["loss"] = float(loss.detach())


def _replicas(bench: Bench, *, not_reduced: str = "") -> None:
    """Two replicas in lockstep, recorded as two ranks of one run."""
    data = digits()
    models, optimizers = [], []
    for _ in range(2):
        torch.manual_seed(bench.seed)
        models.append(nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 10)))
        optimizers.append(SGD(models[-1].parameters(), 0.1))
    with ExitStack() as stack:
        callbacks = []
        for rank in range(2):
            job = {"RANK": str(rank), "WORLD_SIZE": "2", "TELEMETRY_RUN_ID": f"job-{bench.seed}"}
            with patch.dict(os.environ, job):
                callbacks.append(stack.enter_context(bench.record(models[rank], optimizers[rank])))
        for x, y in data.batches(bench.generator(), 64, 200):
            losses = []
            for rank, model in enumerate(models):
                losses.append(functional.cross_entropy(model(x[rank::2]), y[rank::2]))
                optimizers[rank].zero_grad()
                losses[-1].backward()
            for (name, a), (_, b) in zip(
                models[0].named_parameters(), models[1].named_parameters(), strict=True
            ):
                if not_reduced and name.startswith(not_reduced):
                    continue
                mean = (a.grad + b.grad) / 2  # type: ignore[operator]
                a.grad.copy_(mean)  # type: ignore[union-attr]
                b.grad.copy_(mean)  # type: ignore[union-attr]
            for rank in range(2):
                optimizers[rank].step()
                callbacks[rank].step(loss=losses[rank])
    bench.score(models[0], data)
    one, other = (nn.utils.parameters_to_vector(m[1].parameters()).detach() for m in models)
    bench.result["apart"] = float((one - other).norm() / one.norm())


@fault("F57", "rank_desync", by=20, measure="apart")
def norm_not_reduced(bench: Bench) -> None:
    """Latent: the weights of the ranks drift apart, and the checkpoint is one rank's."""
    _replicas(bench, not_reduced=bench.fault("1.", without=""))


@healthy("W57")
def replicas_in_step(bench: Bench) -> None:
    _replicas(bench)


@fault("F60", "adam_second_moment", by=260)
def state_lost_at_resume(bench: Bench) -> None:
    """The second moment was not saved, and its steps are counted on: 15 times too long."""
    data = digits()
    model = mlp(MLP_3)
    optimizer = Adam(model.parameters(), 0.01, betas=(0.9, 0.999))

    def lose(step: int) -> None:
        if step == bench.fault(240, without=-1):
            for state in optimizer.state.values():
                state["exp_avg_sq"].zero_()

    train(
        bench, model, optimizer, data.batches(bench.generator(), 64, 400),
        evaluate=evaluation(model, data), before_step=lose,
    )  # fmt: skip
    bench.score(model, data)


@healthy("H12")
def frozen_norm_backbone(bench: Bench) -> None:
    """A trained backbone with BatchNorm, frozen and in evaluation mode, and a new head."""
    data = digits(images=True)
    model = ConvNet(norm=True)
    before = SGD(model.parameters(), 0.1, momentum=0.9)
    for x, y in data.batches(bench.generator(), 64, 60):
        before.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        before.step()
    model.head = nn.Linear(128, 10)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    optimizer = Adam(model.head.parameters(), 3e-3)

    model.eval()
    with bench.record(model, optimizer) as telemetry:
        for step, (x, y) in enumerate(data.batches(bench.generator(), 64, 200)):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if (step + 1) % 50 == 0:
                with torch.no_grad(), telemetry.evaluation():
                    out = model(data.val_x)
                telemetry.log(val_loss=float(functional.cross_entropy(out, data.val_y)))
    bench.result["constant"] = data.constant
    bench.result["accuracy"] = float((model(data.val_x).argmax(-1) == data.val_y).float().mean())


@healthy("H26")
def one_batch_on_purpose(bench: Bench) -> None:
    data = digits()
    model = mlp(MLP_3)
    optimizer = Adam(model.parameters(), 1e-3)
    x, y = data.x[:64], data.y[:64]
    with bench.record(model, optimizer, tags=["overfit-one-batch"]) as telemetry:
        for _ in range(200):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    bench.result["loss"] = float(loss.detach())


class _TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp((64, 64, 64))
        self.digit = nn.Linear(64, 10)
        self.parity = nn.Linear(64, 2)

    def forward(self, x: Tensor, *, parity: bool) -> Tensor:
        hidden = functional.relu(self.body(x))
        return self.parity(hidden) if parity else self.digit(hidden)


@healthy("H34")
def heads_in_turn(bench: Bench) -> None:
    data = digits()
    model = _TwoHeads()
    optimizer = Adam(model.parameters(), 1e-3)
    with bench.record(model, optimizer) as telemetry:
        for step, (x, y) in enumerate(data.batches(bench.generator(), 64, 400)):
            parity = step % 2 == 1
            loss = functional.cross_entropy(model(x, parity=parity), y % 2 if parity else y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    out = model(data.val_x, parity=False)
    bench.result["constant"] = data.constant
    bench.result["accuracy"] = float((out.argmax(-1) == data.val_y).float().mean())
