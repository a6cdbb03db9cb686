"""What a sweep has read of runs that are over, kept beside the catalogue of their manifests.

A line holds the facts of a run, the root causes that its diagnosis found, and the names of its
shards. It counts while folders and shards are in the state they were in, and for the same rules and
policy; only of a run in whose files nothing is wrong is one kept.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from telemetry import json_values
from telemetry.compare.sweep import forest
from telemetry.compare.sweep.facts import Facts, Key, facts_from
from telemetry.compare.sweep.importance import Importance
from telemetry.compare.sweep.interactions import PairEffect
from telemetry.compare.sweep.parameter_effects import Weighed
from telemetry.diagnose.identity import options_hash, rules_version
from telemetry.diagnose.policy import Policy
from telemetry.format.flight_ring import parse_ring_name
from telemetry.format.manifest import Status
from telemetry.json_values import Json, json_list, json_object
from telemetry.store.files.catalogue_file import (
    SETTLED_S,
    CatalogueFile,
    place_of,
    state_of,
    state_text,
)
from telemetry.store.files.folder_state import FolderState, folder_state, shard_names
from telemetry.store.files.folders import SERVICE_FOLDER
from telemetry.store.runs.run import Run

NAME = "sweeps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a run without reading its tables."""

    facts: Facts
    roots: frozenset[str]


class KeptFacts:
    """Facts of earlier sweeps; tell it before runs are read, and what was read of them."""

    def __init__(
        self, store: Path, policy: Policy, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._file = CatalogueFile(store, NAME, version=_version())
        self._judged_by = f"{rules_version()}-{options_hash(None, policy)}"
        self._clock = clock
        self._begun: dict[Key, tuple[Mapping[str, Json], FolderState]] = {}

    def get(self, run: Run) -> Known | None:
        """What is known of a run, if its files are what they were."""
        line = self._file.get(place_of(run.ref.path))
        if line is None or not _is_over(run):
            return None
        try:
            document = json_values.loads(line.text)
            if not isinstance(document, dict) or document.get("judged_by") != self._judged_by:
                return None
            shards = json_object(document.get("shards"))
            state = folder_state(run.ref, shards)
            if state is None or state.text != line.state:
                return None
            facts = facts_from(json_object(document.get("facts")))
        except ValueError:  # not what `put` writes
            return None
        self._begun[run.key] = shards, state
        return Known(facts=facts, roots=frozenset(map(str, json_list(document.get("roots")))))

    def begin(self, run: Run) -> None:
        """Look at a run whose tables will be read now."""
        if _is_over(run) and not _has_ring(run.ref.path):
            shards = shard_names(run.ref)
            state = folder_state(run.ref, shards)
            if state is not None and self._clock() - state.changed_s > SETTLED_S:
                self._begun[run.key] = shards, state

    def put(self, run: Run, known: Known) -> None:
        """Keep what was read of a run, by the state in which its files were before.

        If they have changed meanwhile, nothing will ever be in that state again.
        """
        if run.key not in self._begun:
            return
        shards, before = self._begun[run.key]
        document: dict[str, Json] = {
            "judged_by": self._judged_by,
            "roots": sorted(known.roots),
            "shards": shards,
            "facts": known.facts.to_json(),
        }
        text = json.dumps(document, separators=(",", ":"))
        self._file.put(place_of(run.ref.path), before.text, text.encode())

    def weighed(
        self, runs: Sequence[Run], outcomes: str, compute: Callable[[], Weighed]
    ) -> Weighed:
        """What parameters explain: a forest takes seconds, and gives the same each time.

        Args:
            runs: Those of the sweep.
            outcomes: Hash of all that it is computed from.
            compute: Computes it.
        """
        project = {run.ref.path.parent.name for run in runs}
        place = project.pop() if len(project) == 1 else SERVICE_FOLDER
        state = f"{_engine()}-{outcomes}"
        line = self._file.get(place)
        if line is not None and line.state == state:
            with suppress(ValueError, TypeError, KeyError):  # not what is kept below
                shares, pairs = json.loads(line.text)
                return Weighed(
                    importances=tuple(Importance(**entry) for entry in shares),
                    pairs=tuple(PairEffect(**entry) for entry in pairs),
                )
        found = compute()
        kept = [list(map(asdict, entries)) for entries in (found.importances, found.pairs)]
        self._file.put(place, state, json.dumps(kept).encode())
        return found

    def save(self) -> None:
        """Keep it for the next sweep."""
        self._file.save()


def _is_over(run: Run) -> bool:
    return run.manifest is not None and run.manifest.closed and run.status is not Status.RUNNING


def _has_ring(folder: Path) -> bool:
    """Whether a flight recorder is there: its file is written in place."""
    return any(parse_ring_name(path.name) for path in folder.iterdir())


@cache
def _version() -> str:
    """Hash of the text of what reads and compares: another text, other facts."""
    package = Path(__file__).parents[2]
    digest = hashlib.blake2b(digest_size=8)
    for room in ("compare", "format", "store"):
        for path in sorted((package / room).rglob("*")):
            if path.suffix in {".py", ".sql"}:
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _engine() -> str:
    """What grows the trees: another version of it may break ties in another way."""
    found = find_spec("sklearn") if forest.is_available() else None
    # Asking for the number of its version takes longer than all else that is known by now.
    file = None if found is None or found.origin is None else state_of(found.origin)
    return f"{'none' if file is None else state_text(file)}-{np.__version__}"
