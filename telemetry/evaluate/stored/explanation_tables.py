"""The tables that keep answers of `telemetry explain`: how each is read, and what its rows are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from telemetry.store.rows import SqlValue, as_text

Record = Mapping[str, SqlValue]

ATTRIBUTIONS_SQL = """
SELECT
    project,
    run,
    attribution_id,
    checkpoint,
    dataset,
    example_id,
    method,
    library,
    params,
    score_kind,
    target,
    other,
    label,
    prediction,
    score_input,
    score_baseline,
    baseline,
    segment_names,
    segment_values,
    array_path,
    image_path,
    checks,
    method_check,
    ok,
    forwards,
    seed,
    answer,
    written_at
FROM attributions
ORDER BY written_at, project, run, attribution_id
"""
PERTURBATIONS_SQL = """
SELECT
    project,
    run,
    perturbation_id,
    checkpoint,
    dataset,
    example_id,
    axis,
    unit,
    value,
    label,
    prediction,
    correct,
    p_label,
    margin,
    clipped_share,
    n,
    accuracy,
    ci_low,
    ci_high,
    threshold,
    monotone,
    checks,
    ok,
    seed,
    answer,
    written_at
FROM input_perturbations
ORDER BY written_at, project, run, perturbation_id, value
"""
REDUCTIONS_SQL = """
SELECT
    project,
    run,
    reduction_id,
    checkpoint,
    dataset,
    wrong_id,
    right_name,
    mode,
    label,
    prediction,
    cell,
    n_differences,
    minimal,
    edits,
    minimal_proven,
    n_components,
    region,
    region_share,
    p_before,
    p_after,
    calls,
    mask_path,
    image_path,
    checks,
    ok,
    forwards,
    answer,
    written_at
FROM input_reductions
ORDER BY written_at, project, run, reduction_id, mode DESC
"""
COVERAGE_SQL = """
SELECT
    project,
    run,
    coverage_id,
    checkpoint,
    train_dataset,
    test_dataset,
    kind,
    attribute,
    train_low,
    train_high,
    train_n,
    test_n,
    outside_n,
    outside_share,
    q,
    error_inside,
    error_outside,
    error_p,
    histogram,
    example_ids,
    reported,
    finding,
    sentence,
    answer,
    written_at
FROM coverage
ORDER BY written_at, project, run, coverage_id, finding DESC, reported DESC, outside_n
"""
VISUALIZATIONS_SQL = """
SELECT
    project,
    run,
    viz_id,
    kind,
    checkpoint,
    step,
    layer,
    unit,
    position,
    dataset,
    example_ids,
    objective,
    noise_mean,
    noise_sd,
    real_max,
    z,
    n_units,
    n_dead,
    effective_rank,
    dead,
    cka_to_last,
    params,
    details,
    array_path,
    image_path,
    checks,
    ok,
    forwards,
    seed,
    answer,
    written_at
FROM feature_visualizations
ORDER BY written_at, project, run, viz_id, layer, step, unit
"""
FEATURES = frozenset({"deconv", "top_examples"})
VERBS = {"deconv": "features", "top_examples": "features", "evolution": "features"}
SHOWN_UNITS = 5
INPUT_FILES = frozenset({".npy", ".pt", ".json", ".txt", ".png", ".jpg", ".jpeg"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTable:
    """A table of answers.

    Attributes:
        name: Of the table.
        sql: Its rows, those of one answer together.
        identity: Which answer a row belongs to.
        verb: The part of `telemetry explain` that writes it; '' where rows say which.
        about: What was asked about, of the rows of an answer.
    """

    name: str
    sql: str
    identity: Callable[[Record], str]
    verb: Callable[[Record], str]
    about: Callable[[Sequence[Record]], str]


def _example(rows: Sequence[Record]) -> str:
    """Id of an example; name of its file, where it lies in one."""
    row = rows[0]
    dataset, example = as_text(row["dataset"]), as_text(row["example_id"])
    is_file = PurePosixPath(dataset).suffix.lower() in INPUT_FILES
    return dataset if is_file else f"example {example}"


def _changed(rows: Sequence[Record]) -> str:
    row = rows[0]
    example = as_text(row["example_id"])
    who = f"example {example}" if example else as_text(row["dataset"])
    return f"{who}, {as_text(row['axis'])}"


def _sets(rows: Sequence[Record]) -> str:
    return f"{as_text(rows[0]['test_dataset'])} by {as_text(rows[0]['train_dataset'])}"


def _layer(rows: Sequence[Record]) -> str:
    units = [as_text(row["unit"]) for row in rows if row["unit"] is not None]
    layers = list(dict.fromkeys(as_text(row["layer"]) for row in rows))
    if not units:
        return layers[0] if len(layers) == 1 else f"{len(layers)} layers"
    more = ", ..." if len(units) > SHOWN_UNITS else ""
    return f"{layers[0]} {', '.join(units[:SHOWN_UNITS])}{more}"


def _visualization(row: Record) -> str:
    """The id of the question: units of features are drawn on one page that has its name."""
    image = as_text(row["image_path"])
    if as_text(row["kind"]) in FEATURES and image:
        return PurePosixPath(image).stem
    return as_text(row["viz_id"])


def _kind(row: Record) -> str:
    kind = as_text(row["kind"])
    return VERBS.get(kind, kind)


TABLES = (
    AskedTable(
        name="attributions",
        sql=ATTRIBUTIONS_SQL,
        identity=lambda row: as_text(row["attribution_id"]),
        verb=lambda _row: "input",
        about=_example,
    ),
    AskedTable(
        name="input_perturbations",
        sql=PERTURBATIONS_SQL,
        identity=lambda row: as_text(row["perturbation_id"]),
        verb=lambda _row: "perturb",
        about=_changed,
    ),
    AskedTable(
        name="input_reductions",
        sql=REDUCTIONS_SQL,
        identity=lambda row: as_text(row["reduction_id"]),
        verb=lambda _row: "reduce",
        about=lambda rows: f"example {as_text(rows[0]['wrong_id'])}",
    ),
    AskedTable(
        name="coverage",
        sql=COVERAGE_SQL,
        identity=lambda row: as_text(row["coverage_id"]),
        verb=lambda _row: "coverage",
        about=_sets,
    ),
    AskedTable(
        name="feature_visualizations",
        sql=VISUALIZATIONS_SQL,
        identity=_visualization,
        verb=_kind,
        about=_layer,
    ),
)
