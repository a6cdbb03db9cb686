import io
from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, steady, validated

pytestmark = pytest.mark.usefixtures("example")


def left(example: Path) -> set[str]:
    return {path.name[-6:] for path in example.glob("project=*/run=*")}


def answer(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.StringIO(text)
    monkeypatch.setattr(stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", stdin)


def test_without_a_terminal_nothing_is_deleted_unasked(
    telemetry: Telemetry, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    done = telemetry("delete", "base")
    assert done.code == 2
    assert "add --yes" in done.err
    assert "aaaaaa" in left(example)


def test_yes_deletes_and_lists(telemetry: Telemetry, example: Path) -> None:
    done = telemetry("delete", "base", "tag=pr-12", "--yes")
    assert done.code == 0
    assert "20260102-030405-aaaaaa" in done.out
    assert left(example) == {"cccccc", "dddddd", "eeeeee", "ffffff"}


def test_a_dry_run_changes_nothing(
    telemetry: Telemetry, terminal: Terminal, example: Path, golden: Golden
) -> None:
    terminal(80)
    done = telemetry("delete", "demo/*", "--dry-run", "--no-color")
    assert done.code == 0
    assert "5 runs would be deleted; nothing was deleted" in done.out
    assert len(left(example)) == 6
    golden("cli/delete-80.txt", steady(done.out))


@pytest.mark.parametrize(("text", "code", "gone"), [("y\n", 0, True), ("n\n", 2, False)])
def test_a_terminal_is_asked(
    text: str,
    code: int,
    gone: bool,  # noqa: FBT001 - a test parameter
    telemetry: Telemetry,
    example: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer(text, monkeypatch)
    done = telemetry("delete", "base")
    assert done.code == code
    assert "delete 1 run?" in done.err
    assert ("aaaaaa" not in left(example)) is gone


def test_json_says_what_was_deleted(telemetry: Telemetry) -> None:
    done = telemetry("delete", "base", "--yes", "--json")
    document = validated("delete", done.out)
    assert document == {
        "schema_version": 1,
        "runs": ["20260102-030405-aaaaaa"],
        "deleted": True,
    }


def test_an_unknown_run_deletes_nothing(telemetry: Telemetry, example: Path) -> None:
    done = telemetry("delete", "base", "absent", "--yes")
    assert done.code == 2
    assert len(left(example)) == 6


def test_no_selector_is_refused(telemetry: Telemetry) -> None:
    assert telemetry("delete", "--yes").code == 2


def test_pictures_of_explanations_are_deleted_with_their_run(
    telemetry: Telemetry, example: Path
) -> None:
    (run,) = example.glob("project=*/run=*aaaaaa")
    picture = run / "explain" / "images" / "a.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"x" * 3_000_000)
    assert "\t3." in telemetry("delete", "base", "--dry-run").out
    telemetry("delete", "base", "--yes")
    assert not list(example.rglob("*.png"))
