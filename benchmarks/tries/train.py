"""One random set-up with the fault that is drawn for its seed, as a script that can be replayed.

Its last line is a JSON object with the score at the end and the validation losses.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

import torch
from random_setups.injections import INJECTIONS, drawn_injection
from random_setups.more_injections import short_injections
from random_setups.setups import drawn
from random_setups.short_setups import drawn_short
from random_setups.training import trained

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--short", action="store_true", help="of the family of short set-ups")
    parser.add_argument("--healthy", action="store_true")
    parser.add_argument("--store", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    setup = drawn_short(given.seed) if given.short else drawn(given.seed)
    among = short_injections(setup, given.seed) if given.short else INJECTIONS
    fault, at, choose = drawn_injection(setup, given.seed, among)
    plant = None if given.healthy else lambda running: fault.plant(running, choose)
    score, running = trained(setup, given.store, given.seed, plant=plant, at=at)
    print(json.dumps({"score": score, "val_losses": running.val_losses}))
