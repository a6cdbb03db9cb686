"""Whether the first value that is not finite is named: planted faults, and healthy trainings.

`python benchmarks/origins/run.py` runs 40 planted faults (6 kinds, 5 architectures, 7 optimizers,
in a sampled or an unsampled step) and 40 healthy trainings; `--fresh` the 10 faults that were
written when the rules were final, each run once. A fault counts as right if exactly one event names
the module, parameter, input or loss, and the step. `kind` says whether the kind of value was right
too.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from cases import BAD_STEP, CASES, SAMPLED, Case, Loop
from fresh import FRESH
from healthy import HEALTHY, N_STEPS, Healthy
from models import ARCHITECTURES
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.format.shards import listed_shards, read_shard
from telemetry.json_values import Json

Payload = dict[str, Json]


def planted(case: Case, store: Path) -> list[Payload]:
    """Train with the fault; the events of the run."""
    torch.manual_seed(0)
    architecture = ARCHITECTURES[case.architecture]
    model = architecture.build()
    loop = Loop(model=model, optimizer=case.optimizer(model.parameters()))
    generator = torch.Generator().manual_seed(1)
    with TelemetryCallback(model, loop.optimizer, store=store, every=case.every) as telemetry:
        for step in range(N_STEPS):
            is_bad = step == BAD_STEP
            loop.inputs, labels = architecture.batch(generator)
            if is_bad:
                case.before(loop)
            criterion = case.loss if is_bad else functional.cross_entropy
            loss = criterion(model(*loop.inputs), labels)
            if not case.clears_late:
                loop.optimizer.zero_grad()
            loss.backward()
            if is_bad:
                case.after(loop)
            if case.clips:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            loop.optimizer.step()
            if case.clears_late:
                loop.optimizer.zero_grad()
            telemetry.step(loss=loss)
    return events(telemetry.path)


def healthy(case: Healthy, store: Path) -> list[Payload]:
    """Train without a fault; the events of the run."""
    torch.manual_seed(0)
    architecture = ARCHITECTURES[case.architecture]
    model = architecture.build()
    loop = Loop(model=model, optimizer=case.optimizer(model.parameters()))
    with TelemetryCallback(model, loop.optimizer, store=store, every=case.every) as telemetry:
        case.train(loop, architecture, telemetry)
    return events(telemetry.path)


def events(run: Path | None) -> list[Payload]:
    """Payloads of what a run says about values that are not finite, and of errors of telemetry."""
    found: list[Payload] = []
    if run is None:
        return found
    for shard in listed_shards(run / "events" / "rank=0"):
        for row in read_shard(shard).to_pylist():
            if row["kind"] == "telemetry_error":
                found.append({"what": "telemetry_error", "note": row["message"]})
            if row["kind"] == "non_finite":
                found.append(json.loads(row["payload"]))
    return found


def is_named(case: Case, found: Sequence[Payload]) -> bool:
    """Exactly one event, with the right name and step."""
    if len(found) != 1 or found[0].get("step") != BAD_STEP:
        return False
    event = found[0]
    if case.what in {"weight", "optimizer_state", "update"}:
        return event.get("parameter") == case.name or (
            case.name == "*" and event["what"] == "update"
        )
    if case.what in {"input", "loss"}:
        return event["what"] == case.what
    return case.name in {event.get("parameter"), event.get("module")}


def main() -> int:
    """Run what was asked for; 1 if fewer than 95 % are right or a healthy one is not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fresh", action="store_true", help="the cases that were kept apart")
    parser.add_argument("--only", default="", help="ids that begin with this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [c for c in (FRESH if options.fresh else CASES) if c.id.startswith(options.only)]
    n_right = _report(cases)
    n_false = 0 if options.fresh or options.only else _report_healthy()
    return int(n_right < 0.95 * len(cases) or n_false > 0)


def _report(cases: Sequence[Case]) -> int:
    right: Counter[str] = Counter()
    kinds = 0
    _say("| case | architecture | optimizer | sampled | planted | found | how | right |")
    _say("|---|---|---|---|---|---|---|---|")
    for case in cases:
        with tempfile.TemporaryDirectory() as store:
            found = planted(case, Path(store))
        is_right = is_named(case, found)
        right[case.kind] += is_right
        kinds += is_right and found[0]["what"] == case.what
        optimizer = getattr(case.optimizer, "func", case.optimizer).__name__
        sampled = "yes" if case.every == SAMPLED else "no"
        where = f"{case.what} {case.name}".strip()
        _say(
            f"| {case.id} | {case.architecture} | {optimizer} | {sampled} | {where} "
            f"| {_words(found)} | {found[0].get('how') if found else ''} "
            f"| {'yes' if is_right else '**no**'} |"
        )
    total = sum(right.values())
    _say(f"\nplanted: {total} of {len(cases)} named with their step ({total / len(cases):.0%}), ")
    _say(f"kind of value right in {kinds}; by kind: {dict(right)}")
    return total


def _report_healthy() -> int:
    n_false = 0
    for case in HEALTHY:
        with tempfile.TemporaryDirectory() as store:
            found = healthy(case, Path(store))
        if found:
            n_false += 1
            _say(f"healthy {case.id}: {_words(found)}")
    _say(f"healthy: {n_false} of {len(HEALTHY)} have an event")
    return n_false


def _words(found: Sequence[Payload]) -> str:
    if not found:
        return "nothing"
    texts = [
        f"{e['what']} {e.get('parameter') or e.get('module') or ''}"
        + (f" ({e['operation']})" if e.get("operation") else "")
        + (f" at step {e.get('step')}" if e.get("step") != BAD_STEP else "")
        for e in found
    ]
    return "; ".join(text.strip() for text in texts)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
