"""A baseline: summaries of runs in one small file that is kept in git and compared with later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from telemetry import json_values
from telemetry.compare.curves.align import Series
from telemetry.compare.curves.metric_names import LOSS
from telemetry.compare.curves.thinning import averaged_as
from telemetry.compare.diff.baseline_format import (
    FORMAT_NAME,
    SCHEMA_VERSION,
    number_lines,
    run_from_json,
    run_to_json,
)
from telemetry.compare.diff.compared_run import ComparedRun, Side
from telemetry.compare.diff.read_side import read_side
from telemetry.compare.divergence.cause import Divergence
from telemetry.compare.terms import DivergenceKind
from telemetry.diagnose.identity import options_hash, rules_version
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.regular_files import read_regular
from telemetry.format.runs import publish_bytes
from telemetry.json_values import Json
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

SIZE_LIMIT_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """Runs to compare with, as a file keeps them.

    Attributes:
        path: The file.
        runs: Their summaries, long curves averaged.
        averaged: Metrics whose curves are means over stretches.
        rules: Hash of the detectors and of the policy that found the findings.
    """

    path: Path
    runs: Side
    averaged: frozenset[str]
    rules: str

    def check_metrics(self, names: Sequence[str]) -> None:
        """Refuse a metric that the file lacks, and say how it gets there.

        Raises:
            UsageError: no run of the file has it.
        """
        known = sorted({name for member in self.runs for name in member.curves})
        for name in names:
            if name not in known:
                raise UsageError(
                    f"{self.path} has no metric {name!r}, only {', '.join(known)}; export it "
                    f"again with --metric {name} if its runs have that metric."
                )

    def seen_alike(self, side: Side) -> Side:
        """Another side, its curves averaged over the stretches of those that are."""
        return tuple(
            replace(
                member,
                curves={
                    name: averaged_as(series, self._kept(name)) if name in self.averaged else series
                    for name, series in member.curves.items()
                },
            )
            for member in side
        )

    def _kept(self, name: str) -> list[Series]:
        return [member.curves[name] for member in self.runs if name in member.curves]


def write_baseline(
    store: Store,
    runs: Sequence[Run],
    path: Path,
    *,
    metrics: Sequence[str] = (),
    policy: Policy = DEFAULT_POLICY,
) -> int:
    """Write a file for `read_baseline`; an older baseline of that name is replaced.

    Args:
        store: Where the runs lie.
        runs: The seeds of one configuration, or one run.
        path: The file.
        metrics: To keep besides the loss and all evaluated metrics.
        policy: How the runs are diagnosed.

    Returns:
        Bytes written.

    Raises:
        UsageError: no run, a metric that is not recorded, or a file that is no baseline is there.
        Inconclusive: a run recorded neither a loss nor an evaluation.
        StoreUnreadable: the file cannot be written.
    """
    if not runs:
        raise UsageError("no run was given; `telemetry runs` lists all runs.")
    _check_target(path)
    with store.session(runs) as session:
        side = read_side(store, session, runs, metrics, policy)
    for member in side:
        missing = [name for name in metrics if name not in member.curves]
        if missing:
            raise UsageError(f"metric {missing[0]!r} is not recorded in {member.labels.label}.")
    document: dict[str, Json] = {
        "format": FORMAT_NAME,
        "schema_version": SCHEMA_VERSION,
        "rules": rules_of(policy),
        "runs": [run_to_json(member) for member in side],
    }
    content = number_lines(document).encode("utf-8", "backslashreplace")
    try:
        publish_bytes(path, content)
    except OSError as error:
        raise StoreUnreadable(f"{path} cannot be written: {error.strerror}.") from error
    return len(content)


def read_baseline(path: Path) -> Baseline:
    """The runs of a file that `write_baseline` wrote.

    Raises:
        StoreUnreadable: missing, torn, somebody else's, or of a newer version.
    """
    raw = _object(path)
    if raw.get("format") != FORMAT_NAME:
        raise StoreUnreadable(
            f"{path}: not a telemetry baseline; `telemetry export RUN --baseline FILE` writes one."
        )
    version = raw.get("schema_version")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise StoreUnreadable(
            f"{path}: the baseline has version {version!r}, but this telemetry reads version "
            f"{SCHEMA_VERSION}; upgrade training-telemetry, or export the baseline again."
        )
    try:
        read = [run_from_json(entry) for entry in _runs(raw)]
        rules = str(raw["rules"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise StoreUnreadable(
            f"{path}: the baseline is damaged ({type(error).__name__}: {error}); restore it or "
            "export it again."
        ) from error
    return Baseline(
        path=path,
        runs=tuple(member for member, _ in read),
        averaged=frozenset(name for _, averaged in read for name in averaged),
        rules=rules,
    )


def parted_at_kept_steps(base: ComparedRun, candidate: ComparedRun) -> Divergence:
    """Where the losses of two runs differ first among the steps that a file keeps; never why.

    Args:
        base: From the file.
        candidate: Seen alike.
    """
    curves = [member.curves.get(LOSS) for member in (base, candidate)]
    if curves[0] is None or curves[1] is None:
        return _parted(None, None, "a baseline file does not contain single steps")
    steps, left, right = np.intersect1d(
        curves[0].steps, curves[1].steps, assume_unique=True, return_indices=True
    )
    values = curves[0].values[left], curves[1].values[right]
    differ = np.flatnonzero((values[0] != values[1]) & ~(np.isnan(values[0]) & np.isnan(values[1])))
    if not differ.size:
        return _parted(
            None, None, f"the losses are equal at all {steps.size} steps in the baseline"
        )
    first = int(differ[0])
    before = int(steps[first - 1]) if first else None
    return _parted(
        int(steps[first]),
        before,
        "this is the first step in the baseline at which the losses differ",
    )


def _parted(step: int | None, equal_until: int | None, detail: str) -> Divergence:
    return Divergence(
        step=step,
        kind=DivergenceKind.UNKNOWN,
        layer=None,
        equal_until=equal_until,
        detail=f"{detail}; compare with the recorded run to see why.",
    )


def rules_of(policy: Policy) -> str:
    """Hash of the detectors and of the policy under which findings were found."""
    return f"{rules_version()}-{options_hash(None, policy)}"


def _runs(raw: Mapping[str, Json]) -> Sequence[Json]:
    runs = raw["runs"]
    if not isinstance(runs, list) or not runs:
        raise TypeError("`runs` is not a list with at least one run")
    return runs


def _object(path: Path) -> Mapping[str, Json]:
    try:
        raw = json_values.loads(read_regular(path, limit_bytes=SIZE_LIMIT_BYTES))
    except OSError as error:
        raise StoreUnreadable(f"{path}: the baseline cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise StoreUnreadable(
            f"{path}: the file is incomplete or not JSON ({error}); restore it or export it "
            "again with `telemetry export RUN --baseline FILE`."
        ) from error
    if not isinstance(raw, dict):
        raise StoreUnreadable(f"{path}: contains a {type(raw).__name__}, expected an object.")
    return raw


def _check_target(path: Path) -> None:
    """Only a baseline is replaced: `--baseline train.py` must not cost a script.

    Raises:
        UsageError: the path is taken by something else, or its folder is missing.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; create it, or name another file.")
    if not path.exists() and not path.is_symlink():
        return
    try:
        known = _object(path).get("format") == FORMAT_NAME
    except StoreUnreadable:
        known = False
    if not known:
        raise UsageError(
            f"{path} exists and is not a baseline, so it is not overwritten; name another file."
        )
