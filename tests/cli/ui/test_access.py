import pytest

from telemetry.cli.ui.access import Keys, refusal

OWN = {"host": "127.0.0.1:8230"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8230", "localhost:9000", "LOCALHOST", "[::1]:1", "127.0.0.1"]
)
def test_this_machine_is_asked_by_its_own_names(host: str) -> None:
    assert refusal("GET", {"host": host, "origin": f"http://{host}"}, is_opening=False) is None


@pytest.mark.parametrize(
    "host",
    ["evil.com", "127.0.0.1.evil.com", "localhost.evil.com:80", "evil.com:127", "", "127.0.0.2",
     "localhost:80:80", "a@localhost", "localhost\n"],
)  # fmt: skip
def test_a_name_that_was_made_to_mean_this_machine_is_refused(host: str) -> None:
    for is_opening in (False, True):
        found = refusal("GET", {"host": host}, is_opening=is_opening)
        assert found is not None
        assert found.status == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.com", "null", "", "https://127.0.0.1:8230", "http://127.0.0.1:9999"]
)
def test_another_origin_is_refused(origin: str) -> None:
    found = refusal("GET", {**OWN, "origin": origin}, is_opening=True)
    assert found is not None
    assert found.status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_what_another_site_asks_for_is_refused_but_a_link_with_the_token(site: str) -> None:
    headers = {**OWN, "sec-fetch-site": site}
    assert refusal("GET", headers, is_opening=False) is not None
    assert refusal("GET", headers, is_opening=True) is None
    for own in ("same-origin", "none"):
        assert refusal("GET", {**OWN, "sec-fetch-site": own}, is_opening=False) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get"])
def test_only_what_reads_is_answered(method: str) -> None:
    found = refusal(method, OWN, is_opening=True)
    assert found is not None
    assert found.status == 405


def test_the_token_opens_again_and_a_ticket_once() -> None:
    keys = Keys()
    ticket = keys.ticket()
    assert [keys.open_with(keys.token) for _ in range(2)] == [True, True]
    assert [keys.open_with(ticket) for _ in range(2)] == [True, False]
    assert not keys.fits(ticket)
    for wrong in ("", keys.token[:-1], f"{keys.token}a", "\udcff", Keys().token):
        assert not keys.open_with(wrong)
    assert Keys().cookie != keys.cookie
