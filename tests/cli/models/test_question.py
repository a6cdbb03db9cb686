from pathlib import Path

import pictures
import pytest
from command_line import Telemetry, validated

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "shop")]

VERB = ("explain", "dream", "base", "--layer", "output", "--unit", 0, "--steps", 2)
PARTS = ("--model", "pictures:build", "--dataset", "pictures:Pictures")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("stored", [True, False])
def test_pictures_and_arrays_are_copied(
    telemetry: Telemetry, example: Path, *, stored: bool
) -> None:
    words = () if stored else ("--no-store",)
    done = telemetry(*VERB, *PARTS, "--out", "found/here", *words)
    copies = sorted(path.suffix for path in Path("found/here").iterdir())
    assert copies == [".npy", ".png"]
    assert f"picture\tfound/here/{next(Path('found/here').glob('*.png')).name}" in done.out
    assert len(list(example.glob("*/*/explain/images/*.png"))) == int(stored)


@pytest.mark.usefixtures("in_process")
def test_a_folder_that_cannot_be_made_is_said(telemetry: Telemetry) -> None:
    Path("file").write_text("", "utf-8")
    done = telemetry(*VERB, *PARTS, "--out", "file/here", "--no-store")
    assert done.code == 2
    assert "--out file/here: cannot be written" in done.err


def test_a_question_without_an_answer_in_time_is_given_up(
    telemetry: Telemetry, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The process that runs the model has five seconds to end by itself: it must find the model.
    monkeypatch.setenv("PYTHONPATH", str(Path(pictures.__file__).parent))
    done = telemetry(*VERB, *PARTS, "--timeout", 0.01)
    assert (done.code, done.out) == (3, "")
    assert "--timeout 0.01" in done.err
    assert not list(example.glob("*/*/feature_visualizations"))


@pytest.mark.usefixtures("in_process")
def test_a_page_holds_its_pictures_even_where_nothing_is_kept(
    telemetry: Telemetry, example: Path
) -> None:
    done = telemetry(*VERB, *PARTS, "--html", "page.html", "--no-store")
    text = Path("page.html").read_text("utf-8")
    assert "data:image/png;base64," in text
    assert "<h1>telemetry explain dream of base (" in text
    assert "page\tpage.html" in done.out
    assert not list(example.glob("*/*/explain"))


@pytest.mark.usefixtures("in_process")
def test_a_page_is_kept_in_the_run_by_the_id_of_its_answer(
    telemetry: Telemetry, example: Path
) -> None:
    done = telemetry(*VERB, *PARTS, "--html", "page.html", "--json")
    (found,) = validated("explain", done.out)["dreams"]
    assert found["page"] == f"explain/html/{found['viz_id']}.html"
    (kept,) = example.glob("*/*/explain/html/*.html")
    assert kept.read_bytes() == Path("page.html").read_bytes()
    shown = telemetry("explain", "show", found["viz_id"], "--json")
    assert validated("explain", shown.out)["asked"][0]["page"] == found["page"]
    assert f"page\t{kept.resolve()}\n" in telemetry("explain", "show", found["viz_id"]).out
    assert telemetry("export", "base", "out").code == 0
    assert (Path("out") / found["page"]).read_bytes() == kept.read_bytes()
    kept.unlink()
    assert "page\t" not in telemetry("explain", "show", found["viz_id"]).out


@pytest.mark.usefixtures("in_process")
def test_without_html_there_is_no_page(telemetry: Telemetry, example: Path) -> None:
    (found,) = validated("explain", telemetry(*VERB, *PARTS, "--json").out)["dreams"]
    assert found["page"] is None
    assert not list(example.glob("*/*/explain/html"))


@pytest.mark.usefixtures("in_process")
def test_a_page_without_a_place_is_refused_before_the_model_runs(telemetry: Telemetry) -> None:
    done = telemetry(*VERB, *PARTS, "--html", "no/page.html")
    assert (done.code, done.out) == (2, "")
    assert "--html no/page.html: there is no folder no." in done.err
