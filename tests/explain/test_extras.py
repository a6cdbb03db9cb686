import sys

import pytest
from explainable import Rows, build_sum
from pictures import Pictures, build

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain.extras import extra_installed

pytestmark = pytest.mark.torch


def absent(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.delitem(sys.modules, "telemetry.explain.attribution._captum", raising=False)
    monkeypatch.delattr("telemetry.explain.attribution._captum", raising=False)
    for name in [*sys.modules]:
        if name.partition(".")[0] in names:
            monkeypatch.delitem(sys.modules, name)
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "module", "package"),
    [("ig", "captum", "captum"), ("lime", "sklearn", "scikit-learn")],
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, method: str, module: str, package: str
) -> None:
    subject = explain.load(build_sum(), dataset=Rows())
    absent(monkeypatch, module)
    with (
        pytest.raises(UsageError) as refused,
        extra_installed("explain input"),
    ):
        explain.attribute(subject, "3", "pred", method=method, check=False)
    said = (
        f"explain input needs {package}, which is not installed; "
        "pip install 'training-telemetry[explain]'"
    )
    assert str(refused.value) == said


def test_what_needs_no_captum_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = explain.load(build(), dataset=Pictures())
    absent(monkeypatch, "captum", "sklearn")
    explain.attribute(subject, "0", "pred", method="guided", check=False)
    explain.perturb(subject, "0", "brightness")
    explain.evaluate(subject)


def test_a_module_that_the_code_of_the_user_misses_is_not_ours_to_name() -> None:
    with pytest.raises(ModuleNotFoundError), extra_installed("explain input"):
        import no_such_module_of_theirs  # noqa: F401
