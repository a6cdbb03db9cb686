"""The example notebook runs from its first cell to its last, and every result shows itself."""

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "notebook.ipynb"
# What each cell must show: a form, and words of it.
SHOWN = {
    "runs": ("text/html", "hasty"),
    "plot": ("image/svg+xml", "calm"),
    "diagnose": ("text/html", "cause"),
    "diff": ("text/html", "VERDICT"),
    "query": ("text/plain", "largest"),
}


def test_the_notebook_keeps_no_output() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert [cell.id for cell in cells if cell.get("outputs")] == []


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.no_cover
def test_each_cell_runs_and_shows_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TELEMETRY_STORE", str(tmp_path / "runs"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert outputs.pop("train") == []  # neither progress nor a last word
    assert outputs.keys() == SHOWN.keys()
    for name, (form, words) in SHOWN.items():
        (output,) = outputs[name]
        assert output.output_type == "execute_result", output
        assert words in output.data[form]
    assert "non_finite" in outputs["diagnose"][0].data["text/markdown"]
