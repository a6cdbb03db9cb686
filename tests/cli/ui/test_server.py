"""The server as a browser sees it: over HTTP, on a real socket, with real runs."""

import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from page_server import Browser, serving
from running_run import RunningRun
from synthetic import RunBuilder

from telemetry.cli.ui import server
from telemetry.cli.ui.report_page import Judge
from telemetry.format.manifest import Status
from telemetry.store.store import Store

HOSTILE = "<img src=x onerror=alert(1)>\"'&</script><script>alert(2)</script>"
ID = "20260102-030405-{}"
PATHS = ("/", "/runs?run=base", "/nothing", "/?token=wrong")


@pytest.fixture
def browser(store: Path) -> Iterator[Browser]:
    """Of a store of two runs."""
    for letter, name in (("a", "base"), ("b", "wide")):
        trained(store, letter, name).write()
    with serving(store) as found:
        yield found


def trained(store: Path, letter: str, name: str, **more: object) -> RunBuilder:
    builder = RunBuilder(store, run=ID.format(letter * 6), name=name, **more)
    return builder.losses([2.0 - 0.02 * step for step in range(40)])


def main_of(page: str) -> str:
    """What a page shows, without its style and script."""
    return unescape(page.partition("<main>")[2].partition("</main>")[0])


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nobody_sees_a_page(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert answer.status == 403
    assert "the whole address that `telemetry ui` has printed" in main_of(answer.text)
    assert "base" not in main_of(answer.text)
    assert "set-cookie" not in answer.headers


def test_the_token_becomes_a_cookie_that_no_script_and_no_other_site_gets(
    browser: Browser,
) -> None:
    answer = browser.get(f"/?token={browser.keys.token}")
    assert answer.status == 200
    cookie = answer.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert browser.keys.token not in answer.text
    page = browser.get("/")
    assert page.status == 200
    assert browser.keys.token not in page.text
    assert browser.get("/", cookie=f"{browser.keys.cookie}=wrong").status == 403


def test_a_ticket_that_another_site_spends_is_not_used_up(browser: Browser) -> None:
    ticket = browser.keys.ticket()
    assert browser.get(f"/?token={ticket}", host="evil.com").status == 403
    assert browser.get(f"/?token={ticket}").status == 200
    assert browser.get("/").status == 200
    assert Browser(browser.address, browser.keys).get(f"/?token={ticket}").status == 403


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.com"}, {"origin": "http://evil.com"}, {"sec_fetch_site": "same-site"}],
)
def test_another_site_gets_nothing_even_with_the_cookie(
    browser: Browser, headers: dict[str, str]
) -> None:
    assert browser.opened().get("/", **headers).status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(browser: Browser, method: str) -> None:
    for path in ("/", "/runs?run=base", "/nothing"):
        answer = browser.opened().get(path, method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", PATHS)
def test_each_answer_says_what_a_browser_may_do_with_it(browser: Browser, path: str) -> None:
    for answer in (browser.get(path), browser.opened().get(path)):
        policy = answer.headers["content-security-policy"]
        for part in ("default-src 'none'", "frame-ancestors 'none'", "script-src 'sha256-"):
            assert part in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


def test_the_list_leads_to_each_run_and_filters(browser: Browser) -> None:
    page = browser.opened().get("/")
    for letter in "ab":
        key = f"demo/{ID.format(letter * 6)}"
        assert f'value="{key}"' in page.text
        assert f"/runs?{urlencode({'run': key})}" in page.text
    assert "2 runs" in main_of(page.text)
    filtered = main_of(browser.get("/?text=wide&status=finished&sort=loss").text)
    assert "1 of 2 runs" in filtered
    assert "aaaaaa" not in filtered
    assert "no run matches these filters" in main_of(browser.get("/?text=nowhere").text)


def test_a_run_is_shown_and_two_are_compared_the_older_one_as_base(browser: Browser) -> None:
    one = main_of(browser.opened().get("/runs?run=base").text)
    assert "<h2>base aaaaaa</h2>" in one
    assert "compare with" in one
    both = {"run": [f"demo/{ID.format('bbbbbb')}", f"demo/{ID.format('aaaaaa')}"], "by": "start"}
    two = browser.get(f"/runs?{urlencode(both, doseq=True)}")
    assert "<h2>comparison</h2>" in two.text
    assert "swap base and candidate" in two.text


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/runs?run=bsae", 404, "no run matches 'bsae'. Nearest: base"),
        ("/runs?run=../../etc/passwd", 404, "no run matches"),
        ("/runs?run=/etc/passwd", 404, "no run matches"),
        ("/runs?run=demo/..%2f..", 404, "no run matches"),
        ("/runs?run=%00", 404, "no run matches"),
        ("/runs", 400, "choose a run"),
        ("/?sort=beauty", 400, "'beauty' is not a column"),
        ("/?status=dead", 400, "'dead' is unknown"),
        ("/../../etc/passwd", 404, "There is no such page"),
        ("/run.json", 404, "There is no such page"),
    ],
)
def test_what_is_not_there_has_a_page_that_says_so(
    browser: Browser, path: str, status: int, text: str
) -> None:
    answer = browser.opened().get(path)
    assert answer.status == status
    assert text in main_of(answer.text)


def test_the_nearest_runs_are_links(browser: Browser) -> None:
    assert 'href="/runs?run=base"' in browser.opened().get("/runs?run=bsae").text


def test_what_others_named_stays_text(store: Path) -> None:
    trained(
        store, "a", HOSTILE, project=HOSTILE, tags=(HOSTILE,), config={HOSTILE: HOSTILE}
    ).write()
    with serving(store) as browser:
        asked = quote(HOSTILE)
        pages = [
            browser.opened().get(path).text
            for path in ("/", f"/?text={asked}&tag={asked}&project={asked}", "/runs?run=aaaaaa",
                         f"/runs?run={asked}x", f"/?sort={asked}x", f"/?found={asked}")
        ]  # fmt: skip
    for page in pages:
        assert "<img" not in page
        assert page.count("<script") == 1
        assert "alert(" in page


def test_a_page_that_has_not_changed_is_not_sent_again(browser: Browser) -> None:
    for path in ("/", "/runs?run=base"):
        page = browser.opened().get(path)
        tag = page.headers["etag"]
        assert f'data-version="{tag.strip(chr(34))}"' in page.text
        for method in ("HEAD", "GET"):
            again = browser.get(path, method=method, if_none_match=tag)
            assert (again.status, again.text) == (304, "")
        assert browser.get(path, method="HEAD", if_none_match='"other"').headers["etag"] == tag


def test_a_run_that_grows_changes_its_page_and_the_list(store: Path) -> None:
    run = RunningRun(store)
    run.grow([2.0, 1.5, 1.0])
    with serving(store) as browser:
        tags = {
            path: browser.opened().get(path).headers["etag"] for path in ("/", "/runs?run=base")
        }
        run.grow([2.0 - 0.1 * step for step in range(12)], status=Status.FINISHED)
        for path, tag in tags.items():
            page = browser.get(path)
            assert page.headers["etag"] != tag
            assert "12" in re.sub(r"data-of=\"[^\"]*\"", "", main_of(page.text))


def test_a_store_without_a_run_says_how_to_begin_and_shows_the_first(store: Path) -> None:
    with serving(store) as browser:
        page = browser.opened().get("/")
        assert page.status == 200
        assert "telemetry record train.py" in main_of(page.text)
        trained(store, "a", "base").write()
        assert "aaaaaa" in browser.get("/").text


def test_a_store_that_goes_away_while_it_is_shown(browser: Browser, store: Path) -> None:
    assert browser.opened().get("/runs?run=base").status == 200
    shutil.rmtree(store)
    gone = browser.get("/runs?run=base", method="HEAD", if_none_match='"other"')
    assert gone.status in {200, 503}  # 200: its rest lasts
    assert browser.get("/runs?run=base").status == 404
    assert "no run yet" in main_of(browser.get("/").text)


def test_a_run_that_cannot_be_read_is_listed_and_has_a_page_that_says_why(store: Path) -> None:
    path = trained(store, "a", "base").write()
    (path / "run.json").write_text("{", "utf-8")
    with serving(store) as browser:
        assert "unreadable" in main_of(browser.opened().get("/").text)
        answer = browser.get("/runs?run=aaaaaa")
    assert answer.status == 503
    assert "run.json" in main_of(answer.text)


def test_a_mistake_of_ours_has_a_page_and_the_server_goes_on(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("by <b>")

    with monkeypatch.context() as patch:
        patch.setattr(server, "list_source", fail)
        answer = browser.opened().get("/")
    assert answer.status == 500
    assert "ZeroDivisionError: by &lt;b&gt;" in answer.text
    assert browser.get("/").status == 200


def test_a_running_run_is_judged_when_its_rest_is_over(store: Path) -> None:
    run = RunningRun(store)
    run.grow([2.0, 1.5, 1.0])
    now_s, spent_s = 0.0, 0.0

    def spent() -> float:
        nonlocal spent_s
        spent_s += 0.5
        return spent_s

    judge = Judge(lambda: now_s, spent)
    opened = Store.open(store)
    first = judge.judge(opened, opened.select("base"))
    run.grow([2.0 - 0.1 * step for step in range(12)])
    now_s = 49.0
    assert judge.judge(opened, opened.select("base")) is first
    now_s = 51.0
    assert judge.judge(opened, opened.select("base")).n_steps == 12
    run.grow([2.0 - 0.1 * step for step in range(14)], status=Status.FINISHED)
    assert judge.judge(opened, opened.select("base")).n_steps == 14
