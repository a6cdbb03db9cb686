from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest
from folds import CV_ID, add_folds

BASE = [0.80, 0.82, 0.78, 0.81, 0.79, 0.80, 0.83, 0.77, 0.81, 0.79]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three configurations: the incumbent, a better one, and one that loses two folds."""
    store = tmp_path_factory.mktemp("cv") / "telemetry-runs"
    better = [value + 0.05 + 0.005 * (-1) ** i for i, value in enumerate(BASE)]
    add_folds(store, {"lr": 0.1, "clip": "none"}, BASE, order=0)
    add_folds(store, {"lr": 0.03, "clip": "none"}, better, order=1)
    lost = [*BASE[:8], None, None]
    losses = [1.0, float("nan"), float("nan")]
    add_folds(store, {"lr": 0.9, "clip": "none"}, lost, order=2, losses=losses)
    return store


pytestmark = pytest.mark.usefixtures("example")


@pytest.mark.parametrize("width", [80, 120])
def test_the_winner_and_the_lost_folds_fit_the_terminal(
    width: int, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(width)
    done = telemetry("cv", "compare", "--no-color")
    assert done.code == 0
    assert widest(done.out) <= min(width, 99)
    golden(f"cli/cv-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


def test_json_is_the_stable_document(telemetry: Telemetry, golden: Golden) -> None:
    done = telemetry("cv", "compare", CV_ID, "--json")
    assert done.code == 0
    document = validated("cv", done.out)
    assert document["winner"] == {
        "config_id": "c003-none",
        "parameters": {"lr": 0.03, "clip": "none"},
        "holdout": None,
    }
    golden("cli/cv.json", done.out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "absent"], "cross-validation 'absent' matches 0"),
        (["compare", "--metric", "f1"], "the folds have no score 'f1'"),
        (["compare", "--incumbent", "clip=none"], "matches 3 configurations"),
        (["compare", "--goal", "up"], "Invalid value for '--goal'"),
        (["win"], "there is no command"),
    ],
)
def test_what_cannot_be_is_named(arguments: list[str], words: str, telemetry: Telemetry) -> None:
    done = telemetry("cv", *arguments)
    assert done.code == 2
    assert words in done.err


def test_intervals_lie_around_the_incumbent_and_on_a_page(telemetry: Telemetry) -> None:
    done = telemetry("cv", "compare", "--html", "cv.html")
    better = next(line for line in done.out.splitlines() if line.startswith("lr=0.03"))
    zero, place = better.rindex("|"), better.rindex("o")
    assert zero < place
    assert better[place - 1 : place + 2] == "-o-"
    text = Path("cv.html").read_text("utf-8")
    assert "<svg" in text
    assert "use lr=0.03" in text
    assert done.out.endswith("page\tcv.html\n")


def test_a_page_without_a_folder_is_refused(telemetry: Telemetry) -> None:
    done = telemetry("cv", "compare", "--html", "no/cv.html")
    assert (done.code, done.out) == (2, "")
