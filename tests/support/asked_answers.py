"""Rows of answers to `telemetry explain`, as the process that runs a model writes them."""

import json
from datetime import datetime, timedelta
from pathlib import Path

from telemetry.store.results import append_once

START = datetime(2026, 1, 3, 12, 0)  # noqa: DTZ001 - tables hold UTC without saying so
CHECK = {"name": "determinism", "value": 0.0, "threshold": 1e-6, "ok": True, "meaning": "drifts"}
PARAMS = {"steps": 128, "baselines": {"zero": 1, "blur": 1}, "all_checks": True, "compare": None}
COMMON = {"checkpoint": "c" * 16, "dataset": "shop:valid", "seed": 0, "forwards": 7}


def keep_attribution(run: Path, identity: str, minute: int = 0, **values: object) -> None:
    """An answer of `explain input` about example 12, asked at a minute."""
    row = {
        **COMMON,
        "attribution_id": identity,
        "example_id": "12",
        "method": "ig",
        "score_kind": "contrast",
        "library": "captum 0.9.0",
        "params": json.dumps(PARAMS),
        "segment_names": json.dumps(["width", "height", "depth"]),
        "segment_values": json.dumps([-1.0, 3.0, 1.0]),
        "checks": json.dumps([CHECK]),
        "ok": True,
        "answer": 'example 12 is called "3"; height holds 75 %.',
        "written_at": START + timedelta(minutes=minute),
        **values,
    }
    append_once(run, "attributions", [row], identity="attribution_id")


def keep_perturbation(run: Path, identity: str, minute: int = 0) -> None:
    """An answer of `explain perturb` of two values that failed a check."""
    failed = {**CHECK, "name": "clipped", "value": 0.7, "ok": False, "meaning": "it is saturated"}
    rows = [
        {
            **COMMON,
            "perturbation_id": identity,
            "example_id": "12",
            "axis": "brightness",
            "unit": "of the range",
            "value": value,
            "prediction": prediction,
            "n": 1,
            "threshold": 0.5,
            "checks": json.dumps([failed]),
            "ok": False,
            "answer": "example 12 is answered wrongly from brightness +0.5 on.",
            "written_at": START + timedelta(minutes=minute),
        }
        for value, prediction in ((0.5, "8"), (0.0, "3"))
    ]
    append_once(run, "input_perturbations", rows, identity="perturbation_id")


def keep_features(run: Path, page: str, minute: int = 0) -> None:
    """An answer of `explain features` about units 0 and 7, drawn on one page."""
    for unit in (0, 7):
        row = {
            **COMMON,
            "viz_id": f"{unit}{page[1:]}",
            "kind": "deconv",
            "layer": "conv2",
            "unit": unit,
            "example_ids": json.dumps(["12", "13"]),
            "objective": 3.5,
            "dead": False,
            "image_path": f"explain/images/{page}.png",
            "checks": json.dumps([CHECK]),
            "ok": True,
            "answer": "conv2 has 16 units.",
            "written_at": START + timedelta(minutes=minute),
        }
        append_once(run, "feature_visualizations", [row], identity="viz_id")


def keep_gaps(run: Path, identity: str, minute: int = 0) -> None:
    """An answer of `explain coverage` of two comparisons, one of them a finding."""
    rows = [
        {
            "coverage_id": identity,
            "checkpoint": "c" * 16,
            "train_dataset": "shop:train",
            "test_dataset": "shop:night",
            "kind": "attribute",
            "attribute": attribute,
            "train_n": 100,
            "test_n": 50,
            "outside_n": outside,
            "outside_share": outside / 50,
            "example_ids": "[]",
            "reported": outside > 0,
            "finding": outside > 0,
            "sentence": f"{attribute} is covered.",
            "answer": "brightness above 0.6 was never trained.",
            "written_at": START + timedelta(minutes=minute),
        }
        for attribute, outside in (("contrast", 0), ("brightness", 20))
    ]
    append_once(run, "coverage", rows, identity="coverage_id")
