"""One published case as a script that can be replayed: `train_published.py NAME --store FOLDER`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

import torch
from published.case import Trial
from published.registry import CASES

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(CASES))
    parser.add_argument("--fixed", action="store_true", help="the version without the fault")
    parser.add_argument("--store", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    CASES[given.name].train(Trial(fixed=given.fixed, store=given.store))
