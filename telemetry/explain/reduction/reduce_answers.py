"""Answers to `telemetry explain reduce`: sentence, JSON, rows, picture."""

from functools import partial

import numpy as np

from telemetry import json_values
from telemetry.explain.inputs.masks import components
from telemetry.explain.models.subject import Subject
from telemetry.explain.progress import Progress
from telemetry.explain.reduction.ddmin import Items, Least
from telemetry.explain.reduction.differences import Cells
from telemetry.explain.reduction.edits import Edit
from telemetry.explain.reduction.pictures import (
    grid,
    least_of,
    legend,
    marks,
    mask,
    picture,
    texts,
)
from telemetry.explain.reduction.reduction import reduce
from telemetry.explain.reduction.result import Reduction
from telemetry.explain.results.check import check_json
from telemetry.explain.results.keeper import Keeper
from telemetry.explain.results.result import Files, ResultFormat, judged_columns
from telemetry.json_values import Json
from telemetry.requests.explain.reduce import BREAK, KIND, REPAIR, ReduceRequest

IN_REGION, IN_REPAIR = 1, 2  # of the mask


def answer(request: ReduceRequest, subject: Subject, progress: Progress) -> dict[str, Json]:
    """Reduce one pair and keep what is found.

    Raises:
        UsageError: see `reduce`.
        Inconclusive: see `reduce`.
    """
    found = reduce(
        subject,
        request.wrong,
        request.right,
        request.settings,
        label=request.label,
        progress=progress,
    )
    return FORMAT.answers([found], request.keep)


def document(found: Reduction, files: Files) -> dict[str, Json]:
    """What `telemetry explain reduce` shows."""
    return {
        "reduction_id": found.id,
        "checkpoint": found.origin.checkpoint,
        "dataset": found.origin.dataset,
        "wrong_id": found.wrong.id,
        "file": found.file,
        "right_id": found.twin.id,
        "right": found.twin.name,
        "nearest": found.twin.is_nearest,
        "label": found.label,
        "prediction": found.prediction,
        "cell": _cell(found),
        "differences": len(found.differences),
        "repair": _set(found, found.repair),
        "break": _set(found, found.breaking),
        "region": parts(found, found.region),
        "region_share": _share(found, found.region),
        "region_components": _components(found, found.region),
        "p_before": found.p_before,
        "p_after": found.p_after,
        "tolerance": found.tolerance,
        "checks": [check_json(check) for check in found.checks],
        "ok": found.ok,
        "answer": sentence(found),
        "legend": legend(found),
        "grid": grid(found),
        "marks": marks(found),
        "texts": [text.to_json() for text in texts(found)],
        "calls": found.calls,
        "forwards": found.forwards,
        "seconds": found.seconds,
        "image": files.get("image"),
        "mask": files.get("mask"),
    }


def parts(found: Reduction, items: Items) -> list[Json]:
    """Boxes of cells; names of columns and places of tokens."""
    if isinstance(found.differences, Cells):
        return [list(found.differences.boxes[item]) for item in items]
    return [edit.name for edit in found.differences.edits(items)]


def sentence(found: Reduction) -> str:
    """The answer in words."""
    said = [f"{found.name} {_called(found)}"]
    if found.repair is not None:
        said.append(_mending(found, found.repair))
    if found.breaking is not None:
        what = _named(found, found.breaking.items, forwards=False)
        said.append(f"putting {what} into {found.twin.name} makes its answer wrong")
    if isinstance(found.differences, Cells) and found.twin.is_real:
        share = _share(found, found.region)
        said.append(f"the cause is in {_where(found)} ({100 * (share or 0):.1f} % of the pixels)")
    return "; ".join(said) + "."


def _called(found: Reduction) -> str:
    if found.tolerance is None:
        return f'is called "{found.prediction}", not "{found.label}"'
    return f"gets {found.prediction}, not {found.label} within {found.tolerance:.4g}"


def rows_of(found: Reduction, files: Files) -> list[dict[str, object]]:
    """Rows of table `input_reductions`, one a mode."""
    is_image = isinstance(found.differences, Cells)
    common: dict[str, object] = {
        "reduction_id": found.id,
        "dataset": found.file or found.origin.dataset,
        "wrong_id": found.wrong.id,
        "right_id": found.twin.id,
        "right_name": found.twin.name,
        "label": found.label,
        "prediction": found.prediction,
        "cell": _cell(found),
        "n_differences": len(found.differences),
        "region": json_values.dumps(parts(found, found.region)),
        "region_share": _share(found, found.region),
        "p_before": found.p_before,
        "calls": found.calls,
        "mask_path": files.get("mask"),
        "image_path": files.get("image"),
        "forwards": found.forwards,
        "seconds": found.seconds,
        **judged_columns(found, sentence(found)),
    }
    return [
        {
            **common,
            "mode": mode,
            "minimal": json_values.dumps(parts(found, least.items)),
            "edits": None if is_image else json_values.dumps(_edits(found, least.items)),
            "minimal_proven": least.proven,
            "n_components": _components(found, least.items),
            "p_after": found.p_after if mode == REPAIR else None,
        }
        for mode, least in ((REPAIR, found.repair), (BREAK, found.breaking))
        if least is not None
    ]


def _set(found: Reduction, least: Least | None) -> Json:
    if least is None:
        return None
    return {
        "parts": parts(found, least.items),
        "edits": _edits(found, least.items),
        "share": _share(found, least.items),
        "components": _components(found, least.items),
        "proven": least.proven,
    }


def _edits(found: Reduction, items: Items) -> list[Json]:
    return [
        {"name": edit.name, "before": edit.before, "after": edit.after}
        for edit in found.differences.edits(items)
    ]


def _mending(found: Reduction, least: Least) -> str:
    named = _named(found, least.items, forwards=True)
    if not found.twin.is_real:
        return f"with {named} {found.twin.name} the answer is right"
    nearest = ", the nearest of that class," if found.twin.is_nearest else ""
    return f"taking {named} from {found.twin.name}{nearest} makes the answer right"


def _named(found: Reduction, items: Items, *, forwards: bool) -> str:
    """A set in words.

    Args:
        found: Whose.
        items: The set.
        forwards: Whether the right values are taken, and not the wrong ones.
    """
    if isinstance(found.differences, Cells):
        cells = f"{len(items)} of {len(found.differences)} cells"
        return f"{cells} ({100 * (_share(found, items) or 0):.1f} % of the pixels)"
    return ", ".join(_change(edit, forwards=forwards) for edit in found.differences.edits(items))


def _change(edit: Edit, *, forwards: bool) -> str:
    old, new = (edit.before, edit.after) if forwards else (edit.after, edit.before)
    return f"{edit.name} = {_value(new)} (instead of {_value(old)})"


def _value(value: str | float | None) -> str:
    if value is None:
        return "nothing"
    return f'"{value}"' if isinstance(value, str) else f"{value:.4g}"


def _where(found: Reduction) -> str:
    assert isinstance(found.differences, Cells)  # noqa: S101 - tells the type checker
    boxes = [found.differences.boxes[item] for item in found.region]
    if not boxes:
        return "no part"
    y0, x0, y1, x1 = zip(*boxes, strict=True)
    place = f"rows {min(y0)}-{max(y1) - 1}, columns {min(x0)}-{max(x1) - 1}"
    count = _components(found, found.region) or 0
    return place if count == 1 else f"{count} places within {place}"


def _cell(found: Reduction) -> int | None:
    return found.differences.side if isinstance(found.differences, Cells) else None


def _share(found: Reduction, items: Items) -> float | None:
    if not isinstance(found.differences, Cells):
        return None
    return float(found.differences.mask(items).double().mean())


def _components(found: Reduction, items: Items) -> int | None:
    if not isinstance(found.differences, Cells):
        return None
    return components(found.differences.mask(items))


def _kept(found: Reduction, keeper: Keeper) -> Files:
    """The picture, and the mask of cells."""
    image = keeper.image(found.id, partial(picture, found))
    if not isinstance(found.differences, Cells):
        return {"image": image}
    marked = np.zeros(found.differences.wrong.shape[1:], dtype=np.uint8)
    marked[mask(found.differences, found.region)] = IN_REGION
    marked[mask(found.differences, least_of(found))] = IN_REPAIR
    return {
        "image": image,
        "mask": keeper.array(found.id, marked),
    }


FORMAT: ResultFormat[Reduction] = ResultFormat(
    kind=KIND,
    picture=picture,
    files=_kept,
    document=document,
    rows=rows_of,
)
