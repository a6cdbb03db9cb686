"""The manifest of a run while it is recorded: begun, kept alive by heartbeats, closed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from telemetry.capture.steps.continuation import recorded_before
from telemetry.capture.writer.claims import Claim, rank_manifest_name
from telemetry.capture.writer.run_summary import METRICS_LIMIT, merged
from telemetry.format.manifest import (
    FORMAT,
    Attempt,
    Manifest,
    Status,
    encoded,
    publish_json,
    utc_now,
)
from telemetry.format.ownership import signed
from telemetry.format.replay import REPLAY_KEY, Replay
from telemetry.format.runs import RunRef
from telemetry.format.shards import Shard
from telemetry.format.tables import table
from telemetry.json_values import Json, json_integer

MANIFEST_BYTES = 256 * 1024
# A shard's entry has 250 bytes. Without the list a reader opens the footers, which is slower.
FILES_LIMIT = 400
TEXT_LIMIT = 4000  # characters of an error
TAGS_LIMIT = 50
LABEL_LIMIT = 200  # characters of a tag or name

COUNTED = ("dropped_rows", "refused_values")  # of the summary


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What is known of a run when it begins; `config` and `environment` are flat and bounded.

    `explain` says how model and examples can be found again, `replay` how the script was started.
    """

    store: Path
    project: str
    name: str | None
    config: Mapping[str, Json]
    tags: tuple[str, ...]
    total_steps: int | None
    environment: Mapping[str, Json]
    run_id: str | None
    rank: int
    world_size: int
    explain: Mapping[str, Json] | None = None
    replay: Replay | None = None


@dataclass(slots=True, kw_only=True)
class Progress:
    """What changes while a run is recorded; one writer thread owns it.

    Attributes:
        first_step: First optimizer step observed by this attempt, None before it.
        last_step: Last one.
        shards: Published by this attempt, with their table.
        metrics: {name: {last, best, best_step}}.
        loss_to: The last step whose loss is in `metrics`, None before one is.
        loss_trend: The curve of the loss in a few points.
        n_steps: Steps recorded so far, earlier attempts included.
        summary: Further values, as the callback gave them.
        environment: What was found out after the run began.
        dropped_rows: Rows that were lost.
        is_whole: The shards hold what was recorded until the end.
    """

    first_step: int | None = None
    last_step: int = 0
    shards: list[tuple[str, Shard]] = field(default_factory=list)
    metrics: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    loss_to: int | None = None
    loss_trend: list[float] = field(default_factory=list)
    n_steps: int = 0
    summary: dict[str, Json] = field(default_factory=dict)
    environment: dict[str, Json] = field(default_factory=dict)
    dropped_rows: int = 0
    is_whole: bool = True


class RunFolder:
    """Writes `run.json` of rank 0, or `rank-<r>.json` of another rank.

    Args:
        claim: The attempt that this process may write.
        settings: Of the run.
    """

    def __init__(self, claim: Claim, settings: RunSettings) -> None:
        self.claim = claim
        self.ref = claim.ref
        self.world_size = settings.world_size
        self._product = str(settings.environment.get("product", ""))
        self._started = utc_now()
        self._begun = _begun_manifest(claim, settings, now=self._started)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.ref.path

    def write(
        self,
        progress: Progress,
        *,
        status: Status = Status.RUNNING,
        error: Mapping[str, Json] | None = None,
    ) -> None:
        """Publish the present state of the run; any status but running closes it.

        Raises:
            OSError: the disk refuses; the previous manifest is untouched then.
        """
        now = utc_now()
        manifest = self.manifest(progress, now=now, status=status, error=error)
        name = rank_manifest_name(self.claim.rank)
        if self.claim.rank == 0:
            publish_json(self.path / name, bounded(manifest).to_json())
        else:
            publish_json(self.path / name, self._rank_document(bounded(manifest)))

    def manifest(
        self,
        progress: Progress,
        *,
        now: str,
        status: Status,
        error: Mapping[str, Json] | None,
    ) -> Manifest:
        """The manifest that says where the run is."""
        begun = self._begun
        ended = None if status is Status.RUNNING else now
        attempts, former_steps = begun.attempts, _former_steps(begun.summary, progress.first_step)
        if progress.first_step is not None:
            attempts = (*attempts, self._attempt(progress.first_step, progress.last_step, ended))
        elif ended is not None and self.claim.previous is not None:
            # It had nothing to do. What was recorded before stays, also what a manifest that nobody
            # closed does not know.
            former_steps = max(former_steps, self._steps_before(self.claim.previous))
            attempts = (*attempts, self._attempt(former_steps, max(former_steps - 1, 0), ended))
        former = _visible_metrics(begun.summary, first_step=progress.first_step)
        return replace(
            begun,
            heartbeat=now,
            status=status,
            ended=ended,
            closed=status is not Status.RUNNING,
            error=None if error is None else _clipped(error),
            attempts=attempts,
            files=_merged_files(begun.files, self._files(progress.shards)),
            environment={**begun.environment, **progress.environment},
            summary={
                **{key: value for key, value in begun.summary.items() if key != "findings"},
                **progress.summary,
                "metrics": _merged_metrics(former, progress.metrics),
                "loss_to": self._loss_to(progress),
                "loss_trend": list(progress.loss_trend),
                "steps": max(progress.n_steps, former_steps),
                **_counted(
                    begun.summary, {"dropped_rows": progress.dropped_rows, **progress.summary}
                ),
            },
        )

    def _loss_to(self, progress: Progress) -> int | None:
        """How far the loss in `metrics` is that of the run; None: its tables must be read.

        The means of earlier attempts, and of other ranks, are not known to this process; and what
        only the ring holds is in no summary.
        """
        if self.claim.attempt > 1 or self.world_size > 1 or not progress.is_whole:
            return None
        return -1 if progress.loss_to is None else progress.loss_to

    def _steps_before(self, previous: Manifest) -> int:
        """One more than the last step that earlier attempts have left on the disk."""
        starts = {entry.attempt: entry.start_step for entry in previous.attempts}
        claim = self.claim
        return recorded_before(self.path, starts, rank=claim.rank, attempt=claim.attempt).step

    def _attempt(self, first_step: int, last_step: int, ended: str | None) -> Attempt:
        owner = self.claim.owner
        return Attempt(
            attempt=self.claim.attempt,
            start_step=first_step,
            last_step=last_step,
            started=self._started,
            ended=ended,
            host=owner.host,
            boot_id=owner.boot_id,
            pid=owner.pid,
            process_start=owner.process_start,
            writer=f"training-telemetry {self._product}".strip(),
            world_size=self.world_size,
        )

    def _files(self, shards: Sequence[tuple[str, Shard]]) -> dict[str, list[Json]]:
        files: dict[str, list[Json]] = {}
        for name, shard in shards:
            entry: dict[str, Json] = {
                "path": str(shard.path.relative_to(self.path)),
                "rank": self.claim.rank,
                "attempt": shard.name.attempt,
                "level": shard.name.level,
                "rows": shard.rows,
                "bytes": shard.n_bytes,
                "min_step": shard.min_step,
                "max_step": shard.max_step,
                "schema": table(name).version,
                "blake2b": shard.blake2b,
            }
            files.setdefault(name, []).append(entry)
        return files

    def _rank_document(self, manifest: Manifest) -> dict[str, Json]:
        whole = manifest.to_json()
        kept = ("run", "status", "heartbeat", "ended", "attempts", "files", "summary", "owner")
        return {
            "format": FORMAT,
            "rank": self.claim.rank,
            "attempt": self.claim.attempt,
            **{key: whole[key] for key in kept},
        }


def display_name(settings: RunSettings, ref: RunRef) -> str:
    """What a run is called: as the user says, else after its script, else by its short id."""
    script = Path(str(settings.environment.get("script", ""))).stem
    return _short(settings.name or script or ref.short)


def _begun_manifest(claim: Claim, settings: RunSettings, *, now: str) -> Manifest:
    """The manifest before the first step; a resumed run keeps what it was."""
    new = Manifest(
        run=claim.ref.run,
        project=settings.project,
        name=display_name(settings, claim.ref),
        started=now,
        heartbeat=now,
        tags=tuple(_short(tag) for tag in settings.tags[:TAGS_LIMIT]),
        config=settings.config,
        environment=settings.environment,
        total_steps=settings.total_steps,
        conflict_of=claim.conflict_of,
        owner=claim.owner,
        extra=_signed(claim, settings),
    )
    previous = claim.previous
    if previous is None:
        return new
    return replace(
        previous,
        name=new.name if settings.name else previous.name,
        tags=tuple(dict.fromkeys((*previous.tags, *new.tags)))[:TAGS_LIMIT],
        config=new.config or previous.config,
        environment=new.environment,
        total_steps=previous.total_steps if new.total_steps is None else new.total_steps,
        heartbeat=now,
        owner=claim.owner,
        extra={**previous.extra, **new.extra},
        status=Status.RUNNING,
        ended=None,
        error=None,
        closed=False,
    )


def _signed(claim: Claim, settings: RunSettings) -> dict[str, Json]:
    """How the model is built and the script was started; what an earlier attempt said stays."""
    run, project = claim.ref.run, settings.project
    if claim.rank != 0:
        return {}
    explain = {} if settings.explain is None else signed(run, project, settings.explain)
    if settings.replay is None or settings.world_size > 1:  # a launcher started it
        return explain
    return {**explain, **signed(run, project, settings.replay.to_json(), about=REPLAY_KEY)}


def bounded(manifest: Manifest) -> Manifest:
    """The manifest within 256 KiB: the list of files goes first, then metrics, then the config."""
    n_files = sum(len(v) for v in manifest.files.values() if isinstance(v, list))
    if n_files > FILES_LIMIT:
        manifest = replace(manifest, files={})
    no_files = replace(manifest, files={})
    no_metrics = replace(no_files, summary={**manifest.summary, "metrics": {}})
    for candidate in (manifest, no_files, no_metrics):
        if len(encoded(candidate.to_json())) <= MANIFEST_BYTES:
            return candidate
    return replace(no_metrics, config={"telemetry.left_out": True}, environment={})


def _merged_files(
    former: Mapping[str, Json], files: Mapping[str, Sequence[Json]]
) -> dict[str, Json]:
    merged: dict[str, Json] = {}
    for name in sorted({*former, *files}):
        before = former.get(name)
        merged[name] = [*(before if isinstance(before, list) else []), *files.get(name, ())]
    return merged


def _merged_metrics(
    former: Mapping[str, Mapping[str, Json]], metrics: Mapping[str, Mapping[str, Json]]
) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name in list(dict.fromkeys((*metrics, *former)))[:METRICS_LIMIT]:
        if name in metrics and name in former:
            found[name] = merged(name, former[name], metrics[name])
        else:
            found[name] = metrics.get(name) or former[name]
    return found


def _visible_metrics(
    summary: Mapping[str, Json], *, first_step: int | None
) -> dict[str, Mapping[str, Json]]:
    """Metrics of earlier attempts whose best step the present one does not supersede."""
    metrics = summary.get("metrics")
    if not isinstance(metrics, Mapping):
        return {}
    entries = {name: entry for name, entry in metrics.items() if isinstance(entry, Mapping)}
    return {
        name: entry
        for name, entry in entries.items()
        if first_step is None or _is_before(entry.get("best_step"), first_step)
    }


def _is_before(step: Json, first_step: int) -> bool:
    return isinstance(step, int) and step < first_step


def _former_steps(summary: Mapping[str, Json], first_step: int | None) -> int:
    former = json_integer(summary.get("steps"), least=0) or 0
    return former if first_step is None else min(former, first_step)


def _counted(former: Mapping[str, Json], now: Mapping[str, Json]) -> dict[str, Json]:
    """What is counted over all attempts of a run, which know nothing of each other."""
    return {
        key: (json_integer(former.get(key), least=0) or 0) + (json_integer(now[key]) or 0)
        for key in COUNTED
        if key in now
    }


def _clipped(error: Mapping[str, Json]) -> dict[str, Json]:
    return {
        key: value[:TEXT_LIMIT] if isinstance(value, str) else value for key, value in error.items()
    }


def _short(text: str) -> str:
    return text if len(text) <= LABEL_LIMIT else text[: LABEL_LIMIT - 1] + "…"
