"""Settings that nobody wrote down: modules, optimizers and data as the callback found them."""

import json
from collections.abc import Mapping

from telemetry.compare.settings.changed import DATA, MODEL, OPTIMIZER
from telemetry.compare.settings.config_changes import RECORDED_PREFIX, flat
from telemetry.json_values import Json, json_integer, json_objects, parsed_object
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Rows
from telemetry.store.sessions.session import Session

MODULES_LIMIT = 2_000
# Says how the data are fetched, not which.
SPEED_ONLY = frozenset({"workers", "batches"})
EVENTS_SQL = """
SELECT
    kind,
    payload
FROM events
WHERE run = $run
    AND rank = 0
    AND kind IN ('optimizer', 'epoch')
ORDER BY
    attempt,
    step,
    wall_time
"""
MODULES_SQL = """
SELECT
    path,
    type,
    attributes
FROM modules
WHERE run = $run
ORDER BY
    depth,
    path
"""


def recorded_settings(session: Session, run: Run) -> Mapping[str, Json]:
    """What a run was, with keys such as `recorded.optimizer.lr` and `recorded.model.net.0`.

    Of data sets that differ from pass to pass the first one counts, and optimizer settings are
    those of the beginning.
    """
    parameters = {"run": run.run}
    found = {
        **_of_events(session.query(EVENTS_SQL, parameters)),
        **_of_modules(session.query(MODULES_SQL, parameters)),
    }
    return {RECORDED_PREFIX + key: value for key, value in found.items()}


def _of_events(rows: Rows) -> Mapping[str, Json]:
    found: dict[str, Json] = {}
    for kind, payload in zip(rows.texts("kind"), rows.texts("payload"), strict=True):
        details = parsed_object(payload)
        settings = _optimizer(details) if kind == "optimizer" else _data(details)
        for key, value in flat(settings).items():
            found.setdefault(key, value)
    return found


def _optimizer(details: Mapping[str, Json]) -> Mapping[str, Json]:
    """`optimizer.class`, `optimizer.lr`; with several optimizers or groups their number besides."""
    index = json_integer(details.get("index"))
    name = OPTIMIZER if not index else f"{OPTIMIZER}{index}"
    groups = json_objects(details.get("groups"))
    found: dict[str, Json] = {f"{name}.class": details.get("class")}
    for number, group in enumerate(groups):
        place = name if len(groups) == 1 else f"{name}.group{number}"
        found[place] = {key: value for key, value in group.items() if key != "tensors"}
    return found


def _data(details: Mapping[str, Json]) -> Mapping[str, Json]:
    return {DATA: {key: value for key, value in details.items() if key not in SPEED_ONLY}}


def _of_modules(rows: Rows) -> Mapping[str, Json]:
    """`model.<path>` with class and attributes as one text: `Dropout(inplace=false, p=0.1)`."""
    columns = (rows.texts(name)[:MODULES_LIMIT] for name in ("path", "type", "attributes"))
    return {
        f"{MODEL}.{path or '(root)'}": f"{kind}({_listed(parsed_object(attributes))})"
        for path, kind, attributes in zip(*columns, strict=True)
    }


def _listed(attributes: Mapping[str, Json]) -> str:
    return ", ".join(f"{key}={json.dumps(attributes[key])}" for key in sorted(attributes))
