"""Three models that are no examples of ours: does what was planted in them come first?

    python benchmarks/explain/strangers.py [--seeds 1 2 3] [--checks]

Colour images, padded texts and a table, each with a shortcut of training, and two with a kind of
example that training lacks (`stranger_images.py`, `stranger_texts.py`, `stranger_rows.py`). Of
twenty wrong answers from the largest loss to the least: how many does the shortcut lead; the same
of those that it caused, which are right without it; and is it, and is the hole, named by the
comparison with training. With `--checks`: how many answers that name the shortcut first have a
check that fails.
"""

import argparse
import importlib
import sys
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import explain

STEPS = {"images": 900, "texts": 700, "rows": 600}
SHORTCUTS = {
    "images": "the colour at r5c0 says star in training alone",
    "texts": '"terms apply today" says complaint in training alone',
    "rows": "code = ",
}
HOLES = {"images": "brightness below", "rows": "age from"}
SUMMED_UP = 20  # wrong answers


def trained(kind: str, module: ModuleType) -> nn.Module:
    """The model of a seed after so many steps of Adam."""
    torch.manual_seed(module.SEED)
    data, model = module.train(), module.build()
    inputs = torch.stack([data[place][0] for place in range(len(data))])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(STEPS[kind]):
        chosen = torch.randint(len(data), (64,))
        loss = functional.cross_entropy(model(inputs[chosen]), data.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found: nn.Module = model.eval()
    return found


def spread(order: list[int]) -> list[int]:
    """Twenty of them, equally far from each other."""
    places = torch.linspace(0, len(order) - 1, min(SUMMED_UP, len(order))).round().long()
    return [order[place] for place in places.tolist()]


def asked(kind: str, seed: int, *, check: bool) -> None:
    """The lines of one model."""
    module = importlib.import_module(f"stranger_{kind}")
    module.SEED = seed
    model, valid = trained(kind, module), module.valid()
    inputs = torch.stack([valid[place][0] for place in range(len(valid))])
    with torch.no_grad():
        outputs: Tensor = model(inputs)
        wrong = outputs.argmax(1) != valid.labels
        caused = wrong & (model(valid.mended()).argmax(1) == valid.labels)
        losses = functional.cross_entropy(outputs, valid.labels, reduction="none")
    order = losses.argsort(descending=True).tolist()
    subject = explain.load(model, dataset=valid)
    said = [f"{int(wrong.sum())} of {len(valid)} wrong, {int(caused.sum())} by the shortcut"]
    for name, flags in (("caused", caused),) if check else (("all", wrong), ("caused", caused)):
        chosen = spread([place for place in order if flags[place]])
        answers = [explain.attribute(subject, str(place), check=check) for place in chosen]
        first = [valid.is_cause(one.top(1)[0].segment) for one in answers]
        said.append(f"{name}: first {sum(first)} of {len(first)}")
        if check:
            right = [one for one, is_first in zip(answers, first, strict=True) if is_first]
            said.append(f"checks reject {sum(not one.ok for one in right)} of {len(right)}")
    gaps = explain.coverage(subject, module.train()).reported
    names = [gap.attribute for gap in gaps]
    for title, begins in (("shortcut", SHORTCUTS[kind]), ("hole", HOLES.get(kind))):
        if begins is not None:
            places = [n for n, name in enumerate(names, 1) if name.startswith(begins)]
            said.append(f"{title} named {places[0] if places else 'never'} of {len(names)}")
    print(f"{kind} {seed}: " + "; ".join(said), flush=True)


def main() -> None:
    """Print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--kinds", nargs="+", default=list(STEPS))
    parser.add_argument("--checks", action="store_true")
    given = parser.parse_args()
    for seed in given.seeds:
        for kind in given.kinds:
            asked(kind, seed, check=given.checks)


if __name__ == "__main__":
    sys.exit(main())
