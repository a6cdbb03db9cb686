"""Faults of the split and of the labels, and controls that look like them."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

from collections.abc import Callable

import torch
from material import Bench, Data, accuracy, blobs, digits, evaluation, markov, mlp, train
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from telemetry import TelemetryCallback

Metrics = dict[str, float]
Evaluate = Callable[[], Metrics]


def _shared(data: Data, share: float, generator: torch.Generator) -> Data:
    """The same with a share of the validation samples replaced by training samples."""
    n = round(share * len(data.val_x))
    taken = torch.randperm(len(data.x), generator=generator)[:n]
    val_x = torch.cat([data.val_x[n:], data.x[taken]])
    val_y = torch.cat([data.val_y[n:], data.y[taken]])
    order = torch.randperm(len(val_x), generator=generator)
    return Data(x=data.x, y=data.y, val_x=val_x[order], val_y=val_y[order])


def _flipped(data: Data, share: float, generator: torch.Generator) -> Data:
    """The same with training labels drawn anew."""
    wrong = torch.rand(len(data.y), generator=generator) < share
    random = torch.randint(10, (len(data.y),), generator=generator)
    y = torch.where(wrong, random, data.y)
    return Data(x=data.x, y=y, val_x=data.val_x, val_y=data.val_y)


def _measured(model: nn.Module, x: Tensor, y: Tensor, size: int) -> tuple[float, float]:
    """Loss and accuracy in evaluation mode, batch by batch."""
    model.eval()
    with torch.no_grad():
        out = torch.cat([model(part) for part in x.split(size)])
    model.train()
    right = (out.argmax(-1) == y).float().mean()
    return float(functional.cross_entropy(out, y)), float(right)


def _both(model: nn.Module, data: Data, *, size: int = 64, logs_train: bool = True) -> Evaluate:
    """Training and validation samples are evaluated in the same way."""

    def evaluate() -> Metrics:
        train_loss, train_accuracy = _measured(model, data.x, data.y, size)
        val_loss, val_accuracy = _measured(model, data.val_x, data.val_y, size)
        found = {"val_loss": val_loss, "val_accuracy": val_accuracy}
        if logs_train:
            found |= {"train_loss": train_loss, "train_accuracy": train_accuracy}
        return found

    return evaluate


def _run(
    bench: Bench,
    data: Data,
    *,
    model: nn.Module | None = None,
    evaluate: Callable[[nn.Module], Evaluate] | None = None,
    steps: int = 300,
    every: int = 30,
    lr: float = 1e-3,
) -> nn.Module:
    net = model or mlp((data.x.shape[1], 64, 64, 10))
    train(
        bench,
        net,
        Adam(net.parameters(), lr),
        data.batches(bench.generator(), 64, steps),
        evaluate=evaluate(net) if evaluate else evaluation(net, data),
        every=every,
    )
    bench.score(net, data)
    return net


# --- leakage ------------------------------------------------------------------------------------


def _optimism(bench: Bench, net: nn.Module, clean: Data) -> None:
    """How much better the run says that the model is than it is on samples that are new."""
    bench.result["optimism"] = bench.result["accuracy"] - accuracy(net, clean)


@fault("F43", "leakage", by=120, measure="optimism")
def a_third_of_validation_is_trained_on(bench: Bench) -> None:
    clean = blobs(bench.seed, n=1000, n_val=500, flip=0.2)
    leaking = _shared(clean, bench.fault(0.3, without=0.0), bench.generator())
    _optimism(bench, _run(bench, leaking, model=mlp((20, 128, 2)), steps=600, lr=3e-3), clean)


def _overlapping(bench: Bench) -> tuple[Data, Data]:
    """A table split by two ranges that overlap, and with the samples that are new to both."""
    all_of_it = blobs(bench.seed, n=1000, n_val=600, flip=0.2)
    x, y = torch.cat([all_of_it.x, all_of_it.val_x]), torch.cat([all_of_it.y, all_of_it.val_y])
    clean = Data(x=x[:1000], y=y[:1000], val_x=x[1000:], val_y=y[1000:])
    first = bench.fault(770, without=1000)
    held = slice(first, first + 600)
    return Data(x=x[:1000], y=y[:1000], val_x=x[held], val_y=y[held]), clean


@fault("F43b", "leakage", by=120, measure="optimism")
def ranges_of_the_split_overlap(bench: Bench) -> None:
    overlapping, clean = _overlapping(bench)
    _optimism(bench, _run(bench, overlapping, model=mlp((20, 128, 2)), steps=600, lr=3e-3), clean)


@fault("F43d", "leakage", by=120, measure="optimism")
def ranges_that_overlap_in_batches_of_their_own(bench: Bench) -> None:
    overlapping, clean = _overlapping(bench)
    net = mlp((20, 128, 2))

    def evaluate() -> Metrics:
        loss, right = _measured(net, overlapping.val_x, overlapping.val_y, 46)
        return {"val_loss": loss, "val_accuracy": right}

    _run(bench, overlapping, model=net, evaluate=lambda _: evaluate, steps=600, lr=3e-3)
    _optimism(bench, net, clean)


@fault("F43c", "leakage", by=120, measure="optimism")
def validated_with_the_training_set(bench: Bench) -> None:
    clean = blobs(bench.seed, n=1000, n_val=500, flip=0.2)
    same = Data(x=clean.x, y=clean.y, val_x=clean.x, val_y=clean.y)
    _optimism(
        bench,
        _run(bench, bench.fault(same, without=clean), model=mlp((20, 128, 2)), steps=600, lr=3e-3),
        clean,
    )


@fault("F44", "leakage", by=60)
def a_feature_is_the_label(bench: Bench) -> None:
    data = blobs(bench.seed, n=1500, n_val=500, flip=0.1)
    answer = bench.fault(2.0 * data.y - 1, without=torch.zeros(len(data.y)))
    x = torch.cat([data.x, answer.unsqueeze(1)], dim=1)
    val_x = torch.cat([data.val_x, torch.zeros(len(data.val_x), 1)], dim=1)
    leaking = Data(x=x, y=data.y, val_x=val_x, val_y=data.val_y)
    _run(bench, leaking, model=mlp((21, 64, 2)))


@healthy("S01")
def the_training_set_is_evaluated_and_not_logged(bench: Bench) -> None:
    data = digits()
    _run(bench, data, evaluate=lambda net: _both(net, data, logs_train=False))


@healthy("S02")
def both_sets_are_logged(bench: Bench) -> None:
    data = digits()
    _run(bench, data, evaluate=lambda net: _both(net, data, size=23))


@healthy("S03")
def a_table_with_equal_rows(bench: Bench) -> None:
    generator = bench.generator()
    kinds = torch.randint(12, (900, 14), generator=generator).float()
    drawn = torch.randint(900, (2000,), generator=generator)
    x = (kinds[drawn] - 5.5) / 3.5
    y = (x[:, :5].sum(1) > 0).long()
    data = Data(x=x[:1500], y=y[:1500], val_x=x[1500:], val_y=y[1500:])
    _run(bench, data, model=mlp((14, 32, 2)))


@healthy("S04")
def folds_one_after_the_other(bench: Bench) -> None:
    """Five folds in one run, each with fresh weights."""
    data = digits()
    parts = torch.randperm(len(data.x), generator=bench.generator()).chunk(5)
    net = mlp((64, 64, 10))
    fresh = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = Adam(net.parameters(), 1e-3)
    with bench.record(net, optimizer) as telemetry:
        for fold, held in enumerate(parts):
            net.load_state_dict(fresh)
            kept = torch.cat([part for other, part in enumerate(parts) if other != fold])
            own = Data(x=data.x[kept], y=data.y[kept], val_x=data.x[held], val_y=data.y[held])
            _epochs(telemetry, net, optimizer, own, bench.generator(), epochs=4)
    bench.score(net, data)


def _epochs(
    telemetry: TelemetryCallback,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Data,
    generator: torch.Generator,
    *,
    epochs: int,
    evaluate: Evaluate | None = None,
) -> None:
    """Whole epochs, an evaluation after each."""
    for _ in range(epochs):
        for picked in torch.randperm(len(data.x), generator=generator).split(64):
            loss = functional.cross_entropy(net(data.x[picked]), data.y[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        telemetry.log(**(evaluate or evaluation(net, data))())


@healthy("S05")
def short_texts_of_few_tokens(bench: Bench) -> None:
    tokens = markov(bench.seed, 12, 6000)
    rows = tokens[: len(tokens) // 9 * 9].view(-1, 9)
    x, y = rows[:, :8], rows[:, 8]
    data = Data(x=x[:500], y=y[:500], val_x=x[500:], val_y=y[500:])
    embedded = nn.Sequential(nn.Embedding(12, 8), nn.Flatten(), nn.Linear(64, 12))
    _run(bench, data, model=embedded)


def _regression(bench: Bench, x: Tensor, y: Tensor, lr: float) -> None:
    """A network of one output, trained on all but the last fifth."""
    n = len(x) * 4 // 5
    net = mlp((x.shape[1], 32, 1))

    def evaluate() -> Metrics:
        with torch.no_grad():
            return {"val_loss": float(functional.mse_loss(net(x[n:]), y[n:]))}

    data = Data(x=x[:n], y=y[:n], val_x=x[n:], val_y=y[n:])
    batches = data.batches(bench.generator(), 64, 300)
    optimizer = Adam(net.parameters(), lr)
    train(bench, net, optimizer, batches, loss_of=functional.mse_loss, evaluate=evaluate, every=30)


@healthy("S06")
def a_line_through_points(bench: Bench) -> None:
    x = torch.randn(1000, 1, generator=bench.generator())
    _regression(bench, x, 2 * x + 1, 1e-2)


@healthy("S07")
def windows_of_a_smooth_series(bench: Bench) -> None:
    time = torch.arange(2000) / 100 + bench.seed
    series = torch.sin(time) + 0.5 * torch.sin(0.37 * time)
    windows = series.unfold(0, 17, 1)
    _regression(bench, windows[:, :16], windows[:, 16:], 1e-3)


@healthy("S08")
def augmented_and_the_training_set_evaluated(bench: Bench) -> None:
    """Few variants of each sample, so that some are seen as they are."""
    data = digits()
    net = mlp((64, 64, 10))
    optimizer = Adam(net.parameters(), 1e-3)
    generator = bench.generator()
    evaluate = _both(net, data, logs_train=False)
    with bench.record(net, optimizer) as telemetry:
        for step, (x, y) in enumerate(data.batches(generator, 64, 400)):
            shift = torch.randint(-3, 4, (len(x), 1), generator=generator)
            loss = functional.cross_entropy(net(x + 0.05 * shift), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if step % 40 == 39:
                telemetry.log(**evaluate())
    bench.score(net, data)


@healthy("S09")
def all_data_in_one_forward(bench: Bench) -> None:
    data = digits()
    everything, n = torch.cat([data.x, data.val_x]), len(data.x)

    def evaluating(net: nn.Module) -> Evaluate:
        def evaluate() -> Metrics:
            with torch.no_grad():
                out = net(everything)[n:]
            right = (out.argmax(-1) == data.val_y).float().mean()
            return {
                "val_loss": float(functional.cross_entropy(out, data.val_y)),
                "val_accuracy": float(right),
            }

        return evaluate

    _run(bench, data, evaluate=evaluating)


@healthy("S10")
def trained_on_all_data_in_the_end(bench: Bench) -> None:
    """The last epochs take the validation set in; it is not evaluated any more."""
    data = digits()
    everything = Data(
        x=torch.cat([data.x, data.val_x]),
        y=torch.cat([data.y, data.val_y]),
        val_x=data.val_x,
        val_y=data.val_y,
    )
    net = mlp((64, 64, 10))
    optimizer = Adam(net.parameters(), 1e-3)
    generator = bench.generator()
    with bench.record(net, optimizer) as telemetry:
        _epochs(telemetry, net, optimizer, data, generator, epochs=9)
        _epochs(telemetry, net, optimizer, everything, generator, epochs=4, evaluate=dict)
    bench.score(net, data)


# --- labels -------------------------------------------------------------------------------------


@fault("F41b", "label_noise", "overfitting", by=1200)
def noisy_labels_seen_in_both_sets(bench: Bench) -> None:
    data = _flipped(digits(), bench.fault(0.4, without=0.0), bench.generator())
    net = mlp((64, 256, 256, 10))
    _run(bench, data, model=net, evaluate=lambda n: _both(n, data), steps=1200, every=60)


@healthy("S11")
def dropout_and_metrics_of_training_mode(bench: Bench) -> None:
    data = digits()
    net = _with_dropout(0.7)
    seen: list[float] = []

    def evaluating(model: nn.Module) -> Evaluate:
        model.register_forward_hook(lambda _, __, out: seen.append(_own_accuracy(model, out)))

        def evaluate() -> Metrics:
            own = [value for value in seen if value >= 0][-30:]
            found = evaluation(model, data)()
            return found | {"train_accuracy": sum(own) / max(len(own), 1)}

        return evaluate

    _run(bench, data, model=net, evaluate=evaluating, steps=600, every=30)


def _own_accuracy(model: nn.Module, out: Tensor) -> float:
    """How sure a forward of training is, for want of its labels; -1 for other forwards."""
    if not model.training:
        return -1.0
    return float(out.detach().softmax(-1).amax(-1).mean())


def _with_dropout(p: float) -> nn.Module:
    layers: list[nn.Module] = []
    for n_in, n_out in ((64, 128), (128, 128)):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(p)]
    return nn.Sequential(*layers, nn.Linear(128, 10))


@healthy("S12")
def an_easier_validation_set(bench: Bench) -> None:
    data = digits()
    noise = 1.2 * torch.randn(data.x.shape, generator=bench.generator())
    harder = Data(x=data.x + noise, y=data.y, val_x=data.val_x, val_y=data.val_y)
    net = mlp((64, 32, 10))
    _run(bench, harder, model=net, evaluate=lambda n: _both(n, harder), steps=400, every=30)


@healthy("S13")
def a_rare_class_that_training_sees_often(bench: Bench) -> None:
    generator = bench.generator()
    x = torch.randn(6000, 16, generator=generator)
    y = (x[:, :4].sum(1) > 3.3).long()
    rare, common = torch.where(y[:4000] == 1)[0], torch.where(y[:4000] == 0)[0]
    picked = torch.cat([rare, common[: 2 * len(rare)]])
    data = Data(x=x[picked], y=y[picked], val_x=x[4000:], val_y=y[4000:])
    net = mlp((16, 32, 2))
    _run(bench, data, model=net, evaluate=lambda n: _both(n, data), steps=400, every=30)


@healthy("S14")
def clean_labels_seen_in_both_sets(bench: Bench) -> None:
    data = digits()
    net = mlp((64, 256, 256, 10))
    optimizer = SGD(net.parameters(), 0.1)
    batches = data.batches(bench.generator(), 64, 600)
    train(bench, net, optimizer, batches, evaluate=_both(net, data), every=40)
    bench.score(net, data)
