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
    from telemetry.explain.attribution.input_attribution import attribute
    from telemetry.explain.evaluation.evaluation import Evaluation, evaluate
    from telemetry.explain.folds.cross_validation import CrossValidated, cross_validate
    from telemetry.explain.folds.training import FoldCallback
    from telemetry.explain.hypotheses.hypothesis_runs import run_hypotheses
    from telemetry.explain.inputs.examples import ExampleSet
    from telemetry.explain.inputs.input_files import read_example
    from telemetry.explain.inputs.tokenized_text import TokenizedText
    from telemetry.explain.models.subject import Subject, load
    from telemetry.explain.perturbation.perturbation import perturb, perturb_all
    from telemetry.explain.reduction.reduction import flip, reduce
    from telemetry.explain.training_gaps.training_coverage import coverage
    from telemetry.explain.units.dreams import dream
    from telemetry.explain.units.layer_evolution import evolution
    from telemetry.explain.units.layer_weights import weights
    from telemetry.explain.units.unit_features import features

_PUBLIC = {
    "CrossValidated": "telemetry.explain.folds.cross_validation",
    "Evaluation": "telemetry.explain.evaluation.evaluation",
    "ExampleSet": "telemetry.explain.inputs.examples",
    "FoldCallback": "telemetry.explain.folds.training",
    "Subject": "telemetry.explain.models.subject",
    "TokenizedText": "telemetry.explain.inputs.tokenized_text",
    "attribute": "telemetry.explain.attribution.input_attribution",
    "coverage": "telemetry.explain.training_gaps.training_coverage",
    "cross_validate": "telemetry.explain.folds.cross_validation",
    "dream": "telemetry.explain.units.dreams",
    "evaluate": "telemetry.explain.evaluation.evaluation",
    "evolution": "telemetry.explain.units.layer_evolution",
    "features": "telemetry.explain.units.unit_features",
    "flip": "telemetry.explain.reduction.reduction",
    "load": "telemetry.explain.models.subject",
    "perturb": "telemetry.explain.perturbation.perturbation",
    "perturb_all": "telemetry.explain.perturbation.perturbation",
    "read_example": "telemetry.explain.inputs.input_files",
    "reduce": "telemetry.explain.reduction.reduction",
    "run_hypotheses": "telemetry.explain.hypotheses.hypothesis_runs",
    "weights": "telemetry.explain.units.layer_weights",
}

__all__ = [
    "CrossValidated",
    "Evaluation",
    "ExampleSet",
    "FoldCallback",
    "Subject",
    "TokenizedText",
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
