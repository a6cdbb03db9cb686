"""Runs models: why does the trained network answer as it does? Needs torch; a process of its own.

from telemetry import explain
subject = explain.load(model="shop.net:build", checkpoint="best.pt", dataset="shop.data:valid")
evaluation = explain.evaluate(subject)
attribution = explain.attribute(subject, example="4711", target="wrong", method="ig", seed=0)
print(attribution.answer, attribution.ok)
attribution.save(run)  # or attribution.figure("html")
perturbation = explain.perturb(subject, "4711", "brightness")
found = explain.cross_validate(train_and_score, {"lr": [0.1, 0.01]}, labels=labels)
(dream,) = explain.dream(subject, "conv2", ["7"])
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.explain.cross_validation import CrossValidated, cross_validate
    from telemetry.explain.dreams import dream
    from telemetry.explain.evaluation import Evaluation, evaluate
    from telemetry.explain.examples import ExampleSet
    from telemetry.explain.fold_training import FoldCallback
    from telemetry.explain.hypothesis_runs import run_hypotheses
    from telemetry.explain.input_attribution import attribute
    from telemetry.explain.input_files import read_example
    from telemetry.explain.layer_evolution import evolution
    from telemetry.explain.layer_weights import weights
    from telemetry.explain.perturbation import perturb, perturb_all
    from telemetry.explain.reduction import flip, reduce
    from telemetry.explain.subject import Subject, load
    from telemetry.explain.training_coverage import coverage
    from telemetry.explain.unit_features import features

_PUBLIC = {
    "CrossValidated": "telemetry.explain.cross_validation",
    "Evaluation": "telemetry.explain.evaluation",
    "ExampleSet": "telemetry.explain.examples",
    "FoldCallback": "telemetry.explain.fold_training",
    "Subject": "telemetry.explain.subject",
    "attribute": "telemetry.explain.input_attribution",
    "coverage": "telemetry.explain.training_coverage",
    "cross_validate": "telemetry.explain.cross_validation",
    "dream": "telemetry.explain.dreams",
    "evaluate": "telemetry.explain.evaluation",
    "evolution": "telemetry.explain.layer_evolution",
    "features": "telemetry.explain.unit_features",
    "flip": "telemetry.explain.reduction",
    "load": "telemetry.explain.subject",
    "perturb": "telemetry.explain.perturbation",
    "perturb_all": "telemetry.explain.perturbation",
    "read_example": "telemetry.explain.input_files",
    "reduce": "telemetry.explain.reduction",
    "run_hypotheses": "telemetry.explain.hypothesis_runs",
    "weights": "telemetry.explain.layer_weights",
}

__all__ = [
    "CrossValidated",
    "Evaluation",
    "ExampleSet",
    "FoldCallback",
    "Subject",
    "attribute",
    "coverage",
    "cross_validate",
    "dream",
    "evaluate",
    "evolution",
    "features",
    "flip",
    "load",
    "perturb",
    "perturb_all",
    "read_example",
    "reduce",
    "run_hypotheses",
    "weights",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
