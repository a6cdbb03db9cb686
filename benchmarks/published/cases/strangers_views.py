"""Strangers' loops: detectors, teachers, and layers that look at the whole batch."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam

from published.case import Reached, Trial, case
from published.material import batches, digits, images, unexplained


@case(
    "computervision-recipes-315",
    source="https://github.com/microsoft/computervision-recipes/pull/315",
    wrong="labels of objects start at 0, which the detector keeps for the background: one class "
    "is never found",
    mended="labels start at 1",
    ported="anchors of 16 numbers, half of them empty; reached is the mean recall of three classes",
)
def zero_is_the_background(trial: Trial) -> Reached:
    """Cans that are nothing."""
    n = 1600
    kind = torch.randint(6, (n,), generator=trial.generator).clamp_max(3)  # 3: nothing is there
    centres = torch.randn(4, 16, generator=trial.generator)
    x = centres[kind] + 0.8 * torch.randn(n, 16, generator=trial.generator)
    names = (kind + 1) % 4 if trial.fixed else torch.where(kind == 3, 0, kind)
    boxes = torch.tanh(x @ (0.4 * torch.randn(16, 4, generator=trial.generator)))
    trunk = nn.Sequential(nn.Linear(16, 48), nn.ReLU())
    model = nn.ModuleDict({"trunk": trunk, "name": nn.Linear(48, 4), "box": nn.Linear(48, 4)})
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    for _ in range(10):
        for rows, _same in batches(torch.arange(1280), torch.arange(1280), 32, trial.generator):
            hidden = model["trunk"](x[rows])
            name_loss = functional.cross_entropy(model["name"](hidden), names[rows])
            off = functional.smooth_l1_loss(model["box"](hidden), boxes[rows], reduction="none")
            box_loss = (off.sum(1) * (names[rows] > 0)).mean()
            loss = name_loss + box_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, loss_classifier=name_loss, loss_box_reg=box_loss)
    with torch.no_grad():
        told = model["name"](model["trunk"](x[1280:])).argmax(-1)
    held, own = kind[1280:], names[1280:]
    found = [((told == own) & (told > 0))[held == k].float().mean() for k in range(3)]
    return Reached(share=float(torch.stack(found).mean()))


@case(
    "cosmix-uda-21",
    source="https://github.com/saltoricristiano/cosmix-uda/issues/21",
    wrong="the teacher's mean takes the parameters of the student and not its buffers: BatchNorm "
    "of the teacher has the statistics of the start",
    mended="the buffers too",
    ported="digits, a fifth with labels; the teacher is what is evaluated",
)
def teacher_without_buffers(trial: Trial) -> Reached:
    """Weights of today with the means of the beginning."""
    data = images()
    x, y = 3 + 2 * data.x, data.y
    student = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten()),
        nn.Linear(256, 10),
    )
    teacher = copy.deepcopy(student).requires_grad_(requires_grad=False).eval()
    optimizer = SGD(student.parameters(), lr=0.02, momentum=0.9)
    telemetry = trial.record(student, optimizer)
    for _ in range(8):
        for source, label in batches(x[:280], y[:280], 16, trial.generator):
            rows = torch.randint(280, len(x), (32,), generator=trial.generator)
            target = x[rows] + 0.3 * torch.randn(32, 1, 8, 8, generator=trial.generator)
            guess, sure = teacher(x[rows]).softmax(-1), 0.9
            chosen = guess.amax(-1) > sure
            out = student(torch.cat([source, target]))
            loss = functional.cross_entropy(out[: len(source)], label)
            mixed = functional.cross_entropy(out[len(source) :], guess.argmax(-1), reduction="none")
            loss = loss + (mixed * chosen).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
                    old.lerp_(new, 0.05)
                for old, new in zip(teacher.buffers(), student.buffers(), strict=True):
                    if trial.fixed and old.is_floating_point():
                        old.lerp_(new, 0.05)
            telemetry.step(loss=loss)
        with torch.no_grad():
            out = teacher(3 + 2 * data.val_x)
            right = (out.argmax(-1) == data.val_y).float().mean()
            telemetry.log(val_loss=functional.cross_entropy(out, data.val_y), val_accuracy=right)
    return Reached(share=float(right))


@case(
    "deepxde-33",
    source="https://github.com/lululxvi/deepxde/issues/33",
    wrong="a solution of the order of 100: the part of the equation does not go down",
    mended="the equation is scaled so that the solution is of the order of 1",
    ported="u'' + u / 2 = f on [0, 3] with both ends known",
)
def equation_out_of_scale(trial: Trial) -> Reached:
    """A network of tanh that should give hundreds."""
    size = trial.pick(300.0, fixed=1.0)
    model = nn.Sequential(
        *(nn.Linear(1, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 1))
    )
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    ends = torch.tensor([[0.0], [3.0]])

    def wanted(x: Tensor) -> Tensor:
        return size * (3 * x).sin()

    for _ in range(700):
        x = 3 * torch.rand(48, 1, generator=trial.generator)
        x.requires_grad_()
        u = model(x)
        first = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
        second = torch.autograd.grad(first.sum(), x, create_graph=True)[0]
        equation = (second + u / 2 + 8.5 * wanted(x.detach())).square().mean()
        boundary = (model(ends) - wanted(ends)).square().mean()
        loss = equation + boundary
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss, equation=equation, boundary=boundary)
    grid = torch.linspace(0, 3, 200)[:, None]
    with torch.no_grad():
        return Reached(error=unexplained(model(grid), wanted(grid)))


@case(
    "neural-operators-1",
    source="https://github.com/ShashankSubramanian/neuraloperators-TL-scaling/issues/1",
    wrong="scales of the solution are computed and never used: the loss becomes infinite",
    mended="solutions are divided by their scale too",
    ported="waves on a line, one spectral layer between two pointwise ones",
)
def scale_never_used(trial: Trial) -> Reached:
    """Inputs of one, solutions of a hundred thousand."""
    n, places = 400, 32
    grid = torch.arange(places) * (2 * math.pi / places)
    amounts = torch.randn(n, 4, generator=trial.generator)
    waves = torch.stack([(k * grid).sin() for k in range(1, 5)])
    source = amounts @ waves
    scale = trial.pick(1e5, fixed=1.0)
    y = scale * (amounts / torch.arange(1.0, 5.0).square()) @ waves

    class _Operator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift, self.out = nn.Linear(1, 8), nn.Linear(8, 1)
            self.modes = nn.Parameter(0.1 * torch.randn(6, 8, 8, 2))
            self.pointwise = nn.Linear(8, 8)

        def forward(self, f: Tensor) -> Tensor:
            hidden = self.lift(f[..., None])
            spectrum = torch.fft.rfft(hidden, dim=1)
            kept = torch.einsum("bmi,mio->bmo", spectrum[:, :6], torch.view_as_complex(self.modes))
            padded = functional.pad(kept, (0, 0, 0, places // 2 + 1 - 6))
            hidden = torch.fft.irfft(padded, n=places, dim=1) + self.pointwise(hidden)
            out: Tensor = self.out(functional.gelu(hidden)).squeeze(-1)
            return out

    model = _Operator()
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    for _ in range(30):
        for f, u in batches(source[:320], y[:320], 16, trial.generator):
            loss = functional.mse_loss(model(f), u)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        return Reached(error=unexplained(model(source[320:]), y[320:]))


@case(
    "imagenet-multigpu-18",
    source="https://github.com/soumith/imagenet-multiGPU.torch/pull/18",
    wrong="the mean is taken off and the deviation divided by in the loader and again in the hook",
    mended="once",
    ported="digits as they are for the images; SGD .02, momentum .9, without BatchNorm",
)
def normalised_twice(trial: Trial) -> Reached:
    """Pixels far from zero, all on one side."""
    data = digits()
    mean, deviation = 0.05, 0.01  # of the small images as the loader has them: digits / 6

    def hooked(x: Tensor) -> Tensor:
        once = (x / 6 - mean) / deviation / 5
        return once if trial.fixed else (once - mean) / deviation / 5

    model = nn.Sequential(
        *(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10))
    )
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    telemetry = trial.record(model, optimizer)
    for _ in range(8):
        for x, y in batches(hooked(data.x), data.y, 32, trial.generator):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    with torch.no_grad():
        right = model(hooked(data.val_x)).argmax(-1) == data.val_y
    return Reached(share=float(right.float().mean()))
