"""Manifests of runs that are over, kept in one file: a list of runs opens one, not thousands.

What is kept is the JSON object of `run.json` as it was read, and it is parsed as that would be. It
counts while `run.json` is the file that it was: same size, times of change, and place on the disk.
The two parts that lists and sweeps do not ask for, and that are two thirds of it, are left out.
When the run started stands before it, so that the newest runs are found without parsing all.
"""

import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from telemetry import json_values
from telemetry.errors import StoreUnreadable
from telemetry.format.manifest import Manifest, parse_manifest, read_document
from telemetry.format.runs import MANIFEST_NAME
from telemetry.json_values import Json, json_object
from telemetry.store.files.catalogue_file import (
    CatalogueFile,
    is_settled,
    place_of,
    state_of,
    state_text,
)

NAME = "catalogue"
VERSION = "2"
LEFT_OUT = ("files", "environment")
BETWEEN = b"\t"  # the start and the object: neither holds one


class KeptManifests:
    """Reads manifests, from the catalogue where that holds; `save` once all are read."""

    def __init__(self, store: Path, *, now_s: float) -> None:
        self._file = CatalogueFile(store, NAME, version=VERSION)
        self._now_s = now_s

    def read(self, folder: Path) -> Manifest:
        """The manifest of a run folder.

        Raises:
            StoreUnreadable: as `read_manifest`.
        """
        path = f"{folder}/{MANIFEST_NAME}"
        before = state_of(path)
        text = self._text(folder, before)
        kept = None if text is None else self._parsed(folder, text)
        if kept is not None:
            return kept
        document = read_document(folder)
        manifest = parse_manifest(document, where=path)
        if before is not None and manifest.closed and is_settled(before, now_s=self._now_s):
            # If it has changed since it was looked at, nothing will ever be in that state again.
            self._keep(folder, before, manifest, document)
        return manifest

    def started(self, folder: Path) -> str | None:
        """When a run started, as its manifest says; None where its manifest must be read."""
        text = self._text(folder, state_of(f"{folder}/{MANIFEST_NAME}"))
        return None if text is None else text.partition(BETWEEN)[0].decode()

    def save(self) -> None:
        """Keep what was read for the next reader, where that is possible."""
        self._file.save()

    def _text(self, folder: Path, state: os.stat_result | None) -> bytes | None:
        """What is kept of a run whose manifest is in that state."""
        line = self._file.get(place_of(folder))
        return line.text if line and state and line.state == state_text(state) else None

    def _parsed(self, folder: Path, text: bytes) -> Manifest | None:
        try:
            document = json_values.loads(text.partition(BETWEEN)[2])
        except ValueError:  # not what `_keep` writes
            return None
        if not isinstance(document, dict):
            return None
        rest = _Rest(folder)
        parts = {name: _Part(rest, name) for name in LEFT_OUT}
        return parse_manifest({**document, **parts}, where=f"{folder}/{MANIFEST_NAME}")

    def _keep(
        self, folder: Path, state: os.stat_result, manifest: Manifest, document: Mapping[str, Json]
    ) -> None:
        kept = {name: value for name, value in document.items() if name not in LEFT_OUT}
        try:
            # As it was read, infinities and lone surrogates included.
            text = json.dumps(kept, separators=(",", ":")).encode()
        except RecursionError:
            return
        if manifest.started.isascii() and manifest.started.isprintable():
            begun = manifest.started.encode()
            self._file.put(place_of(folder), state_text(state), begun + BETWEEN + text)


class _Rest:
    """What the catalogue leaves out, from the run itself once it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def parts(self) -> Mapping[str, Json]:
        try:
            return read_document(self._folder)
        except StoreUnreadable:  # deleted or damaged since it was listed
            return {}


class _Part(Mapping[str, Json]):
    """A mapping that is read when something is asked of it."""

    def __init__(self, rest: _Rest, name: str) -> None:
        self._rest = rest
        self._name = name

    def _read(self) -> Mapping[str, Json]:
        return json_object(self._rest.parts.get(self._name))

    def __getitem__(self, name: str) -> Json:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __eq__(self, other: object) -> bool:
        return dict(self) == other if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]
