"""Modes of the layers in training and in evaluation; `run/evaluations.py` reads them."""

from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(
    id="modes",
    columns=(
        "training_share",
        "norm_training",
        "dropout_training",
        "eval_training_share",
        "eval_norm_training",
        "eval_dropout_training",
    ),
)
