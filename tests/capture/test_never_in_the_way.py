"""An error at the first call of every single function: training goes on, the rest records."""

from pathlib import Path

import pytest
import torch
from injected import FAULTY, N_STEPS, SCENES, Function, functions_called, injected

N_CHUNKS = 8
# What torch or the loop calls itself, a line or two around what is contained: something has to
# stand outside.
SHELLS: set[Function] = {
    ("callback.py", "TelemetryCallback._close"),
    ("callback.py", "TelemetryCallback._open"),
    ("callback.py", "TelemetryCallback.close"),
    ("callback.py", "TelemetryCallback.log"),
    ("callback.py", "TelemetryCallback.step"),
    ("callback.py", "_log"),
    ("callback.py", "_step"),
    ("steps/entry_hook.py", "EntryHook.__call__"),
    ("activations/forward_hooks.py", "EnterHook.__call__"),
    ("activations/forward_hooks.py", "GradientHook.__call__"),
    ("activations/forward_hooks.py", "LeaveHook.__call__"),
    ("activations/forward_hooks.py", "RecurrentHook.__call__"),
    ("activations/functions.py", "ActivationMode.__torch_dispatch__"),
    ("steps/backward.py", "_begun"),
    ("isolation/meter.py", "Meter.start"),  # stands around the guarded block, and reads a clock
    ("isolation/meter.py", "Meter.stop"),
    ("steps/backward.py", "observed.<locals>.backward"),
    ("gradients/clipping.py", "_observed_grouping.<locals>.group_tensors_by_device_and_dtype"),
    (
        "isolation/hook_scope.py",
        "Undispatched.__exit__",
    ),  # would leave modes off for what comes after
    ("gradients/clipping.py", "_observed_scaling.<locals>.clip_grads_with_norm_"),
    ("gradients/clipping.py", "_observed_total.<locals>.get_total_norm"),
    ("gradients/forgotten_leaves.py", "OutputHook.__call__"),
    ("structure/watch.py", "InputHook.__call__"),
    ("structure/watch.py", "StateHook.__call__"),
    ("run/last_words.py", "LastWords.say"),
    ("data/loaders.py", "_observed_iter.<locals>.iterate"),
    ("data/loaders.py", "_observed_next.<locals>.fetch"),
    ("gradients/scaler.py", "_observed_step.<locals>.step"),
    ("gradients/scaler.py", "_observed_unscale.<locals>.unscale_"),
    ("gradients/scaler.py", "_scale_of"),
    ("steps/schedulers.py", "_observed_step.<locals>.step"),
    ("steps/optimizer_hooks.py", "ObservedClosure.__call__"),
    ("steps/optimizer_hooks.py", "install.<locals>.after"),
    ("steps/optimizer_hooks.py", "install.<locals>.before"),
    ("steps/optimizer_hooks.py", "install_for_others.<locals>.begins"),
    ("run/recording.py", "Recording.close"),
    ("isolation/untraced.py", "untraced.<locals>.inner"),
}
# Without these nothing is written any more, or a closure's step is read without its gradients.
AT_THE_END = {("writer/writer.py", "RunWriter.close"), ("writer/loop.py", "WriterLoop.finish")}
OF_CLOSURES = {
    ("steps/optimizer_hooks.py", "ObservedClosure.__init__"),
    ("steps/optimizer_hooks.py", "_with_closure"),
}
# Parts that nothing else needs.
ALONE = {
    "data",
    "flight recorder",
    "inputs",
    "micro_gradients",
    "origin",
    "provenance",
    "schedule",
    "stale_gradients",
}


# Remedies with hooks, by the scene in which they act; the others are done before the first step.
HOOKED = {
    **dict.fromkeys(
        ("lr/2", "warmup=3", "clip=0.01", "zero-grad", "step-once", "mean-accumulation"), "adam"
    ),
    **dict.fromkeys(("no-weight-decay", "eps=1e-8", "minimize", "constant-lr", "modes"), "adam"),
    **dict.fromkeys(("float32", "standardize-inputs", "standardize-targets"), "adam"),
    **dict.fromkeys(("no-softmax", "shuffle", "batch-size*2"), "adam"),
    "momentum=0.9": "sgd",
}
SHELLS_OF_REMEDIES: set[Function] = {
    ("treatment/containment.py", "contained_hook.<locals>.inner"),
    ("treatment/containment.py", "contained_stand_in.<locals>.inner"),
    ("treatment/containment.py", "contained_stand_in.<locals>.original"),
    ("treatment/treated.py", "OneRemedy.on_backward.<locals>.note"),
    ("treatment/treated.py", "StepSettings.install.<locals>.change"),
    ("treatment/treated.py", "StepSettings.install.<locals>.restore"),
    ("treatment/treated.py", "Treatment._stepped"),
    # What these leave behind would be in the way of the tests that follow.
    ("treatment/attached.py", "Attached.leave"),
    ("treatment/treated.py", "Treatment.leave"),
    ("treatment/treated.py", "OneRemedy.undo"),
}


@pytest.mark.parametrize("chunk", range(N_CHUNKS))
@pytest.mark.parametrize("scene", SCENES)
def test_an_error_anywhere_costs_one_part(scene: str, chunk: int, tmp_path: Path) -> None:
    expected = SCENES[scene](lambda *_: None)
    called = functions_called(scene, tmp_path / "whole")
    whole = injected(scene, ("nowhere.py", "nothing"), tmp_path / "nothing")
    assert (whole.n_steps, whole.failed, whole.warnings) == (N_STEPS, [], [])
    functions = [f for f in called if f not in SHELLS][chunk::N_CHUNKS]
    assert len(functions) > 20
    for index, function in enumerate(functions):
        found = injected(scene, function, tmp_path / str(index))
        assert len(found.state) == len(expected), function
        assert all(map(torch.equal, found.state, expected)), function
        assert len(found.warnings) == 1, (function, found.warnings)
        assert len(found.failed) <= 1, (function, found.failed)
        part = found.failed[0] if found.failed else ""
        if function in AT_THE_END or part == "close":
            continue
        if part not in {"steps", "metrics"}:  # which writes them
            assert found.n_steps == N_STEPS, (function, part)
        if part not in {"steps", "parameters"} and function not in OF_CLOSURES:
            assert found.n_tensor_rows == whole.n_tensor_rows, (function, part)
        if part in ALONE:
            assert found.n_module_rows == whole.n_module_rows, (function, part)


def test_the_shells_are_still_there(tmp_path: Path) -> None:
    called = {f for scene in SCENES for f in functions_called(scene, tmp_path / scene)}
    assert called >= SHELLS


@pytest.mark.parametrize("dose", HOOKED)
def test_a_remedy_that_fails_leaves_the_training_as_it_would_have_been(
    dose: str, tmp_path: Path
) -> None:
    scene = HOOKED[dose]
    untreated = FAULTY[scene](lambda *_: None)
    whole = injected(scene, ("nowhere.py", "nothing"), tmp_path / "whole", remedy=dose)
    assert whole.warnings == []
    assert not _equal(whole.state, untreated)
    called = functions_called(scene, tmp_path / "called", remedy=dose)
    own = [one for one in called if one[0].startswith(("remedies/", "treatment/"))]
    own = [one for one in own if one not in SHELLS_OF_REMEDIES]
    assert any(file.startswith("remedies/") for file, _ in own)
    for index, function in enumerate(own):
        found = injected(scene, function, tmp_path / str(index), remedy=dose)
        assert _equal(found.state, untreated), function
        assert len(found.warnings) == 1, (function, found.warnings)
        assert found.failed in ([f"remedy {dose}"], ["settings of remedies"]), function


def _equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))
