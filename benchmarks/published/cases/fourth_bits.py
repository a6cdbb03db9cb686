"""A fourth set: adapters, checkpoints, and numbers of few bits."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW
from torch.utils.checkpoint import checkpoint

from published.case import Reached, Trial, case
from published.material import accuracy, batches, digits


@case(
    "torch-ssl-59",
    source="https://github.com/TorchSSL/TorchSSL/pull/59",
    wrong="with mixed precision gradients are clipped while they are scaled",
    mended="scaler.unscale_(optimizer) before",
    ported="digits, 200 with labels, the others by what the model is sure of; SGD .03, Nesterov",
)
def clipped_before_unscaled(trial: Trial) -> Reached:
    """Steps of next to nothing."""
    data = digits()
    labelled, y = data.x[:200], data.y[:200]
    model = nn.Sequential(nn.Linear(64, 96), nn.LeakyReLU(0.1), nn.Linear(96, 10))
    optimizer = SGD(model.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scaler = torch.amp.GradScaler("cpu")
    telemetry = trial.record(model, optimizer)
    for _ in range(220):
        rows = torch.randint(200, (16,), generator=trial.generator)
        others = data.x[torch.randint(200, 1400, (48,), generator=trial.generator)]
        weak, strong = (
            others + scale * torch.randn(others.shape, generator=trial.generator)
            for scale in (0.05, 0.2)
        )
        with torch.autocast("cpu", torch.bfloat16):
            known, of_weak, of_strong = model(torch.cat([labelled[rows], weak, strong])).split(
                [16, 48, 48]
            )
            sure, told = of_weak.detach().float().softmax(-1).max(-1)
            mask = (sure > 0.9).float()
            supervised = functional.cross_entropy(known, y[rows])
            each = functional.cross_entropy(of_strong, told, reduction="none")
            loss = supervised + (each * mask).mean()
        scaler.scale(loss).backward()
        if trial.fixed:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        telemetry.step(loss=loss, supervised=supervised, mask=mask.mean())
    return Reached(share=accuracy(model, data.val_x, data.val_y))


class _Adapted(nn.Module):
    """A frozen layer, and a product of two narrow ones beside it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.base = nn.Linear(width, width).requires_grad_(requires_grad=False)
        self.down, self.up = nn.Linear(width, 4, bias=False), nn.Linear(4, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.gelu(self.base(hidden) + self.up(self.down(hidden)))


@case(
    "lora-26",
    source="https://github.com/cloneofsimo/lora/issues/26",
    wrong="gradient checkpointing with inputs that need no gradient: adapters of the text encoder "
    "get none",
    mended="use_reentrant=False",
    ported="frozen drawn words and two adapted layers for the encoder, one for the other net",
)
def checkpoint_without_gradient(trial: Trial) -> Reached:
    """None of the inputs have requires_grad=True."""
    n = 900
    words = torch.randint(40, (n, 3), generator=trial.generator)
    y = torch.randint(4, (40,), generator=trial.generator)[words[:, 1]]
    encoder = nn.Sequential(_Adapted(48), _Adapted(48))
    embed = nn.Embedding(40, 16).requires_grad_(requires_grad=False)
    unet, out = _Adapted(48), nn.Linear(48, 4).requires_grad_(requires_grad=False)
    with torch.no_grad():
        for layer in (encoder[0].base, encoder[1].base, unet.base, out):
            layer.weight.mul_(2.0)
    model = nn.ModuleDict({"embed": embed, "text_encoder": encoder, "unet": unet, "out": out})
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    telemetry = trial.record(model, optimizer)

    def answer(rows: Tensor) -> Tensor:
        hidden = embed(rows).flatten(1)
        hidden = checkpoint(encoder, hidden, use_reentrant=not trial.fixed)
        told: Tensor = out(unet(hidden))
        return told

    for _ in range(20):
        for rows, label in batches(words[:700], y[:700], 28, trial.generator):
            loss = functional.cross_entropy(answer(rows), label)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            telemetry.step(loss=loss)
    with torch.no_grad():
        told = answer(words[700:]).argmax(-1)
    return Reached(share=float((told == y[700:]).float().mean()))


@case(
    "speculators-765",
    source="https://github.com/vllm-project/speculators/pull/765",
    wrong="the draft model is trained in bfloat16 throughout: weights of norms stay 1.0",
    mended="parameters in float32",
    ported="one narrow block with RMSNorm before the frozen head of a larger model, which reads "
    "places that say nothing too; Adam .0015",
)
def norms_stay_one(trial: Trial) -> Reached:
    """A step of .0015 from 1 is 1."""
    kind = trial.pick(torch.bfloat16, fixed=torch.float32)
    features = torch.randn(1500, 32, generator=trial.generator)
    head = torch.randn(12, 32, generator=trial.generator)
    y = (features[:, :8] @ head[:, :8].T).argmax(1)

    class _Draft(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden_norm, self.norm = nn.RMSNorm(32), nn.RMSNorm(32)
            self.up, self.down = nn.Linear(32, 6, bias=False), nn.Linear(6, 32, bias=False)
            self.head = nn.Linear(32, 12, bias=False)
            self.head.weight = nn.Parameter(head.clone(), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            hidden = x + self.down(functional.silu(self.up(self.hidden_norm(x))))
            out: Tensor = self.head(self.norm(hidden))
            return out

    model = _Draft().to(kind)
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=1.5e-3, foreach=False)
    telemetry = trial.record(model, optimizer)
    for _ in range(20):
        for x, label in batches(features[:1200].to(kind), y[:1200], 50, trial.generator):
            loss = functional.cross_entropy(model(x).float(), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, features[1200:].to(kind), y[1200:]))


class _Cut(torch.autograd.Function):
    """A clamp; `strict` gives no gradient where the limit is reached exactly."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, strict: bool) -> Tensor:  # noqa: FBT001 - apply() takes no keywords
        inside = (x > -1) & (x < 1) if strict else (x >= -1) & (x <= 1)
        ctx.save_for_backward(inside)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (inside,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad * inside, None


@case(
    "torchao-4806",
    source="https://github.com/pytorch/ao/pull/4806",
    wrong="the clamp of fake quantization gives no gradient where a rounded value is at its limit",
    mended="it does at the limits",
    ported="weights of three values, over the mean of their size; digits, 24 units",
)
def no_gradient_at_the_limits(trial: Trial) -> Reached:
    """A weight that is at the end stays there."""
    data = digits()

    class _Quantized(nn.Module):
        def __init__(self, n_in: int, n_out: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(n_out, n_in) * (2 / n_in) ** 0.5)
            self.bias = nn.Parameter(torch.zeros(n_out))

        def forward(self, x: Tensor) -> Tensor:
            scale = self.weight.detach().abs().mean()
            scaled = self.weight / scale
            rounded = scaled + (scaled.round() - scaled).detach()
            quantized = _Cut.apply(rounded, not trial.fixed)
            return functional.linear(x, scale * quantized, self.bias)

    model = nn.Sequential(_Quantized(64, 24), nn.ReLU(), _Quantized(24, 10))
    optimizer = AdamW(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for x, y in batches(data.x, data.y, 32, trial.generator):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return Reached(share=accuracy(model, data.val_x, data.val_y))
