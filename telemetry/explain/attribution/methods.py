"""Methods of attribution: a score, an input and references to values of elements or segments."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.inputs.segments import Segments

RULES = frozenset({"deconv", "guided"})
OF_ELEMENTS = frozenset({"ig", *RULES})  # the others value whole segments
COMPLETE = frozenset({"ig", "kernelshap"})  # their values sum to the difference of the scores
SAMPLED = frozenset({"lime", "kernelshap"})
MOST_SEGMENTS = 50  # of the sampled ones
GRADIENT_ELEMENTS = 1 << 20  # of a batch: six images of 3 x 224 x 224, and about a gigabyte
FORWARD_ELEMENTS = 1 << 21  # of a batch without gradient: 13 such images, a second on two cores
FIRST_STEPS, MOST_STEPS = 32, 1024  # of integrated gradients, doubled until they sum up
COMPLETENESS = 0.01  # of the difference of the scores
LEAST_DIFFERENCE = 1e-3
LEAST_SAMPLES = 500
SAMPLES_PER_SEGMENT = 10
SHAP_SAMPLES, MOST_SHAP_SAMPLES = 2048, 4096
ENUMERATED = 12  # segments up to which all 2^n sets are asked about instead of a sample

CAPTUM, SKLEARN = "captum", "scikit-learn"  # distributions

Scorer = Callable[[Tensor], Tensor]  # inputs of shape (n, ...) to scores of shape (n,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """One input to be attributed, by one method.

    Attributes:
        score: What is explained.
        values: The input, without the batch dimension.
        segments: Its parts.
        embedding: Module whose output stands for the tokens of a text; None for other inputs.
        samples: Of LIME and KernelSHAP; None: as many as the segments ask for.
        seed: Of everything that is drawn.
        batch: Inputs a forward.
        steps: Of integrated gradients: the first number that is tried, and the last.
    """

    score: Scorer
    values: Tensor
    segments: Segments
    embedding: nn.Module | None
    samples: int | None
    seed: int
    batch: int
    steps: tuple[int, int] = (FIRST_STEPS, MOST_STEPS)

    @property
    def gradient_batch(self) -> int:
        """Inputs of a forward with gradient, which keeps what every layer computed of them."""
        return max(1, min(self.batch, GRADIENT_ELEMENTS // max(self.values.numel(), 1)))

    @property
    def forward_batch(self) -> int:
        """Inputs of a forward without gradient: between two, the time is looked at."""
        return max(1, min(self.batch, FORWARD_ELEMENTS // max(self.values.numel(), 1)))

    @property
    def coarse(self) -> "Problem":
        """The same with the first number of steps alone: a map at once, which may not sum up."""
        return replace(self, steps=(self.steps[0], self.steps[0]))

    @property
    def finer(self) -> "Problem":
        """The same after that."""
        return replace(self, steps=(2 * self.steps[0], self.steps[1]))

    def scores(self, inputs: Tensor) -> Tensor:
        """Scores of any number of inputs without gradient, float32 on the CPU, shape (n,)."""
        with torch.no_grad():
            parts = torch.split(inputs, self.forward_batch)
            return torch.cat([self.score(part).detach().cpu().float() for part in parts])

    def differences(self, references: Sequence[Tensor]) -> list[float]:
        """Score of the input less that of each reference."""
        found = self.scores(torch.stack([self.values, *references]))
        return [float(found[0] - one) for one in found[1:]]

    def mixed_scores(self, kept: Tensor, references: Sequence[Tensor]) -> Tensor:
        """Scores of inputs that keep some segments and take the others from a reference.

        Args:
            kept: Shape (n, n_segments), bool.
            references: Of the input's shape.

        Returns:
            Shape (n, n_references).
        """
        found = []
        for part in torch.split(kept, max(1, self.batch // len(references))):
            mixed = [self.segments.mixed(part, self.values, one) for one in references]
            inputs = torch.stack(mixed, dim=1).flatten(0, 1)
            found.append(self.scores(inputs).reshape(len(part), len(references)))
        return torch.cat(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Valued:
    """What a method found for the references of one baseline, and how.

    Attributes:
        values: Shape (n, *input) for `OF_ELEMENTS`, else (n, n_segments); n is the number of
            references, or 1 for methods that take them together.
        libraries: Distributions that computed them; none: this package.
        params: Settings of the method that were used, by name.
    """

    values: Tensor
    libraries: tuple[str, ...] = ()
    params: Mapping[str, float] = field(default_factory=dict)


def run(method: str, problem: Problem, references: Sequence[Tensor]) -> Valued:
    """Values of a method for the references of one baseline, float32 on the CPU.

    Raises:
        UsageError: the method does not fit the input.
    """
    needs_gradient = method in OF_ELEMENTS
    if needs_gradient and not problem.values.is_floating_point() and problem.embedding is None:
        raise UsageError(
            f"--method {method}: integers have no gradient; use --method lime or occlusion, or "
            "name the module that embeds them with --embedding."
        )
    with torch.random.fork_rng():
        torch.manual_seed(problem.seed)
        found = _RUNNERS[method](problem, references)
    return replace(found, values=found.values.detach().cpu().float())


def _integrated(problem: Problem, references: Sequence[Tensor]) -> Valued:
    found = [_integrated_from(problem, reference) for reference in references]
    return Valued(
        values=torch.stack([values for values, _ in found]),
        libraries=(CAPTUM,),
        params={"steps": max(n_steps for _, n_steps in found)},
    )


def _integrated_from(problem: Problem, reference: Tensor) -> tuple[Tensor, int]:
    """Steps are doubled until the values sum to the difference of the scores; how many it took."""
    from telemetry.explain.attribution import _captum  # noqa: PLC0415 - captum costs seconds

    (difference,) = problem.differences([reference])
    limit = COMPLETENESS * max(abs(difference), LEAST_DIFFERENCE)
    n_steps, most_steps = problem.steps
    while True:
        values = _captum.integrated_gradients(
            problem.score,
            problem.values,
            reference,
            n_steps=n_steps,
            batch=problem.gradient_batch,
            embedding=problem.embedding,
        )
        if abs(float(values.sum()) - difference) <= limit or n_steps >= most_steps:
            return values.cpu(), n_steps
        n_steps *= 2


def _occlusion(problem: Problem, references: Sequence[Tensor]) -> Valued:
    """How much the score falls when one segment is replaced: stride = window."""
    from telemetry.explain.attribution import _captum  # noqa: PLC0415 - captum costs seconds

    n = len(problem.segments)
    found = [_captum.ablation(_set_score(problem, [one]), n, problem.batch) for one in references]
    return Valued(values=torch.stack(found), libraries=(CAPTUM,))


def _lime(problem: Problem, references: Sequence[Tensor]) -> Valued:
    from telemetry.explain.attribution import _captum  # noqa: PLC0415 - captum costs seconds

    n = len(problem.segments)
    n_samples = n_sampled("lime", n, problem.samples)
    score = _set_score(problem, references)
    found = _captum.lime(score, n, n_samples=n_samples, batch=problem.batch)
    return Valued(
        values=found[None],
        libraries=(CAPTUM, SKLEARN),
        params={
            "samples": n_samples,
            "kernel_width": _captum.KERNEL_WIDTH,
            "ridge": _captum.RIDGE,
        },
    )


def _kernel_shap(problem: Problem, references: Sequence[Tensor]) -> Valued:
    from telemetry.explain.attribution import _captum  # noqa: PLC0415 - captum costs seconds

    n = len(problem.segments)
    if n <= ENUMERATED and problem.samples is None:
        found = shapley_values(problem.mixed_scores(every_set(n), references).mean(1))
        return Valued(values=found[None], params={"sets": 2**n})
    n_samples = n_sampled("kernelshap", n, problem.samples)
    score = _set_score(problem, references)
    found = _captum.kernel_shap(score, n, n_samples=n_samples, batch=problem.batch)
    return Valued(values=found[None], libraries=(CAPTUM, SKLEARN), params={"samples": n_samples})


def n_sampled(method: str, n_segments: int, asked: int | None) -> int:
    """How many sets of parts LIME draws, or KernelSHAP draws or counts up."""
    if asked is not None:
        return asked
    if method == "lime":
        return max(LEAST_SAMPLES, SAMPLES_PER_SEGMENT * n_segments)
    if n_segments <= ENUMERATED:
        return int(2**n_segments)
    return min(max(LEAST_SAMPLES, 2 * n_segments + SHAP_SAMPLES), MOST_SHAP_SAMPLES)


def _set_score(problem: Problem, references: Sequence[Tensor]) -> Scorer:
    """Score of sets of kept segments, shape (n, n_segments) to (n,): the mean over references."""
    return lambda sets: problem.mixed_scores(sets > 0, references).mean(1)


def every_set(n: int) -> Tensor:
    """All sets of n things in the order of their binary numbers, bool, shape (2^n, n)."""
    numbers = torch.arange(2**n)
    return (numbers[:, None] >> torch.arange(n)) % 2 == 1


def shapley_values(worth: Tensor) -> Tensor:
    """Exact Shapley values, shape (n,), of the worth of every set of n players.

    Args:
        worth: Shape (2^n,), in the order of `every_set`.

    Source: Shapley 1953; Lundberg and Lee 2017, arXiv:1705.07874, equation 8. captum enumerates
    n! orders instead.
    """
    n = len(worth).bit_length() - 1
    numbers, sets = torch.arange(len(worth)), every_set(n)
    sizes = sets.sum(1)
    weights = torch.tensor([1 / (n * math.comb(n - 1, size)) for size in range(n)])
    found = []
    for player in range(n):
        without = numbers[~sets[:, player]]
        gains = worth[without + 2**player].double() - worth[without].double()
        found.append((weights[sizes[without]].double() * gains).sum())
    return torch.stack(found)


def _under(rule: str) -> Callable[[Problem, Sequence[Tensor]], Valued]:
    def runner(problem: Problem, _references: Sequence[Tensor]) -> Valued:
        from telemetry.explain.models.relu_rule import under_rule  # noqa: PLC0415 - beside the others

        return Valued(values=under_rule(rule, problem.score, problem.values).values[None])

    return runner


_RUNNERS: dict[str, Callable[[Problem, Sequence[Tensor]], Valued]] = {
    "ig": _integrated,
    "occlusion": _occlusion,
    "lime": _lime,
    "kernelshap": _kernel_shap,
    "deconv": _under("deconv"),
    "guided": _under("guided"),
}
