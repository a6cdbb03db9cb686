import copy
import pickle

import torch
from torch import nn

from telemetry.capture.steps import entry_hook


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Linear(2, 3)
        self.critics = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])


def test_every_forward_of_the_model_is_seen_with_its_arguments() -> None:
    seen = []
    model = nn.Linear(2, 1)
    entry_hook.hook_entry(model, lambda _module, args, _kwargs: seen.append(args))
    batch = torch.zeros(1, 2)
    model(batch)
    assert len(seen) == 1
    assert seen[0][0] is batch


def test_a_container_is_entered_through_its_outermost_modules() -> None:
    model = Gan()
    entries = list(entry_hook.entry_modules(model))
    assert entries == [model.generator, *model.critics]


def test_copies_and_pickles_of_the_model_do_not_report_to_the_original() -> None:
    seen = []
    model = nn.Linear(2, 1)
    entry_hook.hook_entry(model, lambda _module, args, _kwargs: seen.append(args))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 - ours
        twin(torch.zeros(1, 2))
    assert not seen


def test_removed_hooks_leave_the_model_as_it_was() -> None:
    model = nn.Linear(2, 1)
    entry_hook.hook_entry(model, lambda _module, _args, _kwargs: None).remove()
    assert not model._forward_pre_hooks
