"""Methods of attribution: a score, an input and a baseline to a value per element or segment."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.segments import Segments

METHODS = ("ig", "occlusion", "lime", "kernelshap", "deconv", "guided")
OF_ELEMENTS = frozenset({"ig", "deconv", "guided"})  # the others value whole segments
COMPLETE = frozenset({"ig", "kernelshap"})  # their values sum to the difference of the scores
FIRST_STEPS, MOST_STEPS = 64, 1024  # of integrated gradients
COMPLETENESS = 0.01  # of the difference of the scores
LEAST_DIFFERENCE = 1e-3
LEAST_SAMPLES = 500
SAMPLES_PER_SEGMENT = 10
SHAP_SAMPLES, MOST_SHAP_SAMPLES = 2048, 4096

Scorer = Callable[[Tensor], Tensor]


@dataclass(slots=True, kw_only=True, eq=False)
class Asked:
    """A score that counts how many inputs it was asked about.

    Attributes:
        function: Inputs of shape (n, ...) to scores of shape (n,).
        forwards: Inputs so far.
    """

    function: Scorer
    forwards: int = 0

    def __call__(self, inputs: Tensor) -> Tensor:
        """Scores of inputs."""
        self.forwards += len(inputs)
        return self.function(inputs)


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
    """

    score: Asked
    values: Tensor
    segments: Segments
    embedding: nn.Module | None
    samples: int | None
    seed: int
    batch: int

    def difference(self, baseline: Tensor) -> float:
        """Score of the input less that of the baseline."""
        with torch.no_grad():
            both = self.score(torch.stack([self.values, baseline]))
        return float(both[0] - both[1])


def run(method: str, problem: Problem, baseline: Tensor) -> Tensor:
    """Values of a method: of the input's shape for `OF_ELEMENTS`, else (n_segments,).

    Raises:
        UsageError: an unknown method, or one that does not fit the input.
    """
    if method not in METHODS:
        raise UsageError(f"--method {method}: say {', '.join(METHODS)}.")
    needs_gradient = method in OF_ELEMENTS
    if needs_gradient and not problem.values.is_floating_point() and problem.embedding is None:
        raise UsageError(
            f"--method {method}: integers have no gradient; say --method lime or occlusion."
        )
    with torch.random.fork_rng():
        torch.manual_seed(problem.seed)
        return _RUNNERS[method](problem, baseline)


def _integrated(problem: Problem, baseline: Tensor) -> Tensor:
    """Steps are doubled until the values sum to the difference of the scores."""
    from telemetry.explain import _captum  # noqa: PLC0415 - captum costs seconds

    difference = problem.difference(baseline)
    limit = COMPLETENESS * max(abs(difference), LEAST_DIFFERENCE)
    n_steps = FIRST_STEPS
    while True:
        values = _captum.integrated_gradients(
            problem.score,
            problem.values,
            baseline,
            n_steps=n_steps,
            batch=problem.batch,
            embedding=problem.embedding,
        )
        if abs(float(values.sum()) - difference) <= limit or n_steps >= MOST_STEPS:
            return values
        n_steps *= 2


def _occlusion(problem: Problem, baseline: Tensor) -> Tensor:
    """How much the score falls when one segment is replaced: stride = window."""
    from telemetry.explain import _captum  # noqa: PLC0415 - captum costs seconds

    labels = problem.segments.labels
    with torch.no_grad():
        values = _captum.ablation(
            problem.score, problem.values, baseline, labels, batch=problem.batch
        )
    found = torch.zeros(len(problem.segments), dtype=values.dtype)
    found[labels.flatten()] = values.flatten()  # every element of a segment has its value
    return found


def _lime(problem: Problem, baseline: Tensor) -> Tensor:
    from telemetry.explain import _captum  # noqa: PLC0415 - captum costs seconds

    wanted = max(LEAST_SAMPLES, SAMPLES_PER_SEGMENT * len(problem.segments))
    with torch.no_grad():
        return _captum.lime(
            problem.score,
            problem.values,
            baseline,
            problem.segments.labels,
            n_samples=problem.samples or wanted,
            batch=problem.batch,
        )


def _kernel_shap(problem: Problem, baseline: Tensor) -> Tensor:
    from telemetry.explain import _captum  # noqa: PLC0415 - captum costs seconds

    wanted = max(LEAST_SAMPLES, 2 * len(problem.segments) + SHAP_SAMPLES)
    with torch.no_grad():
        return _captum.kernel_shap(
            problem.score,
            problem.values,
            baseline,
            problem.segments.labels,
            n_samples=problem.samples or min(wanted, MOST_SHAP_SAMPLES),
            batch=problem.batch,
        )


def _under(rule: str) -> Callable[[Problem, Tensor], Tensor]:
    def runner(problem: Problem, _baseline: Tensor) -> Tensor:
        from telemetry.explain.relu_rule import under_rule  # noqa: PLC0415 - beside the others

        return under_rule(rule, problem.score, problem.values).values

    return runner


_RUNNERS: dict[str, Callable[[Problem, Tensor], Tensor]] = {
    "ig": _integrated,
    "occlusion": _occlusion,
    "lime": _lime,
    "kernelshap": _kernel_shap,
    "deconv": _under("deconv"),
    "guided": _under("guided"),
}
