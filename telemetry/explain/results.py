"""Writes what was found out about a model into the folder of its run."""

from pathlib import Path

from telemetry.explain.evaluation import Evaluation
from telemetry.store.results import append_once


def write_evaluation(run: Path, evaluation: Evaluation) -> bool:
    """Keep an evaluation in a run; False when the run has it already.

    Args:
        run: The run folder.
        evaluation: Of one checkpoint on one data set.

    Raises:
        StoreUnreadable: the disk refuses.
    """
    return append_once(run, "example_evals", evaluation.rows, identity="eval_id")
