"""A4: does `explain perturb` find where an answer turns wrong?

    python benchmarks/explain/breaking_points.py [--seeds 10 11] [--examples 60]

Networks for digits of 24 x 24 pixels. The truth is a sweep twenty times as dense as that of the
command. Counted: first failing values (on either side of no change) that lie within one step and
within an eighth of a step of the dense ones, failures of which one side alone knows, and examples
whose flag `monotone` is that of the dense sweep.
"""

import argparse
import sys
from dataclasses import dataclass

from watermark import N_TRAIN, Images, digits, network

from telemetry import explain
from telemetry.explain.perturbation.image_axes import IMAGE_AXES
from telemetry.explain.perturbation.perturbation import Perturbation, perturb
from telemetry.explain.perturbation.sweeps import is_monotone, turns
from telemetry.requests.explain.perturb import PerturbSettings

STEPS, DENSE = 21, 401
AXES = ("brightness", "contrast", "noise", "rotate")


@dataclass(slots=True)
class Count:
    """Of one network and axis."""

    turns: int = 0
    within_step: int = 0
    within_eighth: int = 0
    missed: int = 0
    monotone: int = 0
    same_flag: int = 0
    examples: int = 0


def compare(count: Count, found: Perturbation, dense: Perturbation, step: float) -> None:
    """Add one example."""
    neutral = found.axis.neutral
    truth = turns(dense.values[:], dense.right, neutral)
    count.examples += 1
    count.turns += len(truth)
    for turn in truth:
        own = [t for t in found.turns if (t.wrong > neutral) == (turn.wrong > neutral)]
        count.missed += not own
        distance = min((abs(t.wrong - turn.wrong) for t in own), default=float("inf"))
        count.within_step += distance <= step * (1 + 1e-6)
        # The dense sweep itself is a twentieth of a step wide.
        count.within_eighth += distance <= step * (1 / 8 + 1 / 20) + 1e-9
    really = is_monotone(dense.values, dense.right, neutral)
    count.monotone += really
    count.same_flag += found.monotone == really


def main() -> None:
    """Print a line for each network and axis."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11])
    parser.add_argument("--examples", type=int, default=60)
    given = parser.parse_args()
    images, labels = digits()
    for seed in given.seeds:
        model = network(seed, images[:N_TRAIN], labels[:N_TRAIN])
        data = Images(images[N_TRAIN:], labels[N_TRAIN:])
        subject = explain.load(model, dataset=data)
        for axis in AXES:
            count = Count()
            kind = IMAGE_AXES[axis]
            step = (kind.high - kind.low) / (STEPS - 1)
            for index in range(given.examples):
                found = perturb(subject, str(index), axis, PerturbSettings(seed=seed))
                if found.baseline == 1.0:
                    dense = perturb(
                        subject, str(index), axis, PerturbSettings(steps=DENSE, seed=seed)
                    )
                    compare(count, found, dense, step)
            print(
                f"seed {seed} {axis:10} {count.examples} examples, {count.turns} turns: within a "
                f"step {count.within_step}, within an eighth {count.within_eighth}, missed "
                f"{count.missed}; monotone {count.monotone}, flag right {count.same_flag}",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
