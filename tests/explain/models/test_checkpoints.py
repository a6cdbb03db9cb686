import pickle
from pathlib import Path

import pytest
import torch
from explainable import build
from torch import nn

from telemetry.errors import UsageError
from telemetry.explain.models.checkpoints import load_state, read_checkpoint

pytestmark = pytest.mark.torch


def test_a_plain_state_dict_is_loaded_whole(tmp_path: Path) -> None:
    model, other = build(), build()
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    found = read_checkpoint(tmp_path / "plain.pt")
    load_state(other, found)
    assert found.step is None
    assert len(found.digest) == 16
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "ema"])
def test_the_usual_keys_are_found_and_the_step_beside_them(tmp_path: Path, key: str) -> None:
    torch.save({key: build().state_dict(), "global_step": 7, "lr": 0.1}, tmp_path / "kept.pt")
    found = read_checkpoint(tmp_path / "kept.pt")
    assert found.step == 7
    load_state(build(), found)


def test_two_candidates_need_a_name(tmp_path: Path) -> None:
    state = build().state_dict()
    torch.save({"model": state, "ema": state, "other": {"w": torch.ones(1)}}, tmp_path / "two.pt")
    with pytest.raises(UsageError, match="Use --state-key model or ema or other"):
        read_checkpoint(tmp_path / "two.pt")
    load_state(build(), read_checkpoint(tmp_path / "two.pt", state_key="ema"))
    with pytest.raises(UsageError, match="no state dict under 'best'"):
        read_checkpoint(tmp_path / "two.pt", state_key="best")


def test_prefixes_of_wrappers_are_removed_only_where_all_names_have_them(tmp_path: Path) -> None:
    state = build().state_dict()
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    torch.save(wrapped, tmp_path / "wrapped.pt")
    load_state(build(), read_checkpoint(tmp_path / "wrapped.pt"))
    torch.save({**wrapped, "extra": torch.ones(1)}, tmp_path / "mixed.pt")
    with pytest.raises(UsageError, match=r"missing: 0\.weight"):
        load_state(build(), read_checkpoint(tmp_path / "mixed.pt"))


def test_a_state_dict_below_others_is_named_by_a_path(tmp_path: Path) -> None:
    model = build()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(2, 4)).sum().backward()
    optimizer.step()
    whole = {"weights": {"best": model.state_dict()}, "optimizer": optimizer.state_dict()}
    torch.save(whole, tmp_path / "deep.pt")
    with pytest.raises(
        UsageError,
        match=r"it is not clear which entry is the model\. Use --state-key weights.best\.$",
    ):
        read_checkpoint(tmp_path / "deep.pt")
    load_state(build(), read_checkpoint(tmp_path / "deep.pt", state_key="weights.best"))
    torch.save({"step": 3}, tmp_path / "none.pt")
    with pytest.raises(UsageError, match="None looks like a state dict: it contains step"):
        read_checkpoint(tmp_path / "none.pt")


def test_the_attribute_of_a_trainer_is_removed_where_the_names_then_fit(tmp_path: Path) -> None:
    state = build().state_dict()
    held = {f"net.{name}": value for name, value in state.items()}
    torch.save({"state_dict": held}, tmp_path / "trainer.ckpt")
    load_state(build(), read_checkpoint(tmp_path / "trainer.ckpt"))
    torch.save({"state_dict": {**held, "loss.weight": torch.ones(1)}}, tmp_path / "more.ckpt")
    with pytest.raises(UsageError, match=r"unexpected: net\.0\.weight"):
        load_state(build(), read_checkpoint(tmp_path / "more.ckpt"))


def test_what_does_not_fit_is_named_five_of_each_kind(tmp_path: Path) -> None:
    torch.save(build(width=8).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(UsageError) as caught:
        load_state(build(), read_checkpoint(tmp_path / "wide.pt"))
    assert "0.weight 8x4 in the file, 4x4 in the model" in str(caught.value)
    assert "and 2 more" in str(caught.value)


class Danger:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_pickled_code_does_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    torch.save({"model": Danger(trap)}, tmp_path / "pickled.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Danger(trap)))
    for name in ("pickled.pt", "raw.pt"):
        with pytest.raises(UsageError, match=r"Save model\.state_dict\(\)"):
            read_checkpoint(tmp_path / name)
    assert not trap.exists()


def test_torn_and_foreign_files_are_refused_in_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    torch.save(build().state_dict(), whole)
    (tmp_path / "torn.pt").write_bytes(whole.read_bytes()[:-200])
    (tmp_path / "text.pt").write_bytes(b"hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    for name in ("torn.pt", "text.pt", "empty.pt", "tensor.pt", "missing.pt"):
        with pytest.raises(UsageError) as caught:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert "weights_only=False" not in str(caught.value)


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(UsageError, match=r"contains a torch\.nn\..*Linear; anything but tensors"):
        read_checkpoint(tmp_path / "module.pt")
