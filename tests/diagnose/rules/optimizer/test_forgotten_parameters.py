from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from telemetry import TelemetryCallback
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Severity
from telemetry.store.store import Store

pytestmark = pytest.mark.torch


class Hidden(nn.Module):
    """A part that nobody trains stands before or behind the one that is trained."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.trained = nn.Linear(4, 4)
        self.hidden = [nn.Linear(4, 4)]
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        (hidden,) = self.hidden
        return 0.0 * self.trained(x) + hidden(x) if self.last else self.trained(hidden(x))


@pytest.mark.parametrize(("last", "severity"), [(False, Severity.WARNING), (True, Severity.ERROR)])
def test_a_run_that_learns_all_the_same_is_only_warned(
    *, last: bool, severity: Severity, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = Hidden(last=last)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    with TelemetryCallback(model, optimizer, store=tmp_path, overhead_budget=None) as telemetry:
        for _ in range(300):
            inputs = torch.randn(32, 4)
            loss = (model(inputs) - inputs).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    store = Store.open(tmp_path)
    found = diagnose_run(store, store.runs()[0]).findings
    assert [f.severity for f in found if f.detector == "forgotten_parameters"] == [severity]
