"""The edge: under which names the service answers, and which sites' pages may use it."""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from serving import ServerThread, serving
from wire import Api, check_problem, script, slow

ALLOWED = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer"
EXPOSED = "Location, Content-Location, Preference-Applied, Retry-After"
FRIEND = "https://friend.example"
FOREIGN = ["https://evil.example", "null", "http://localhost.evil.example", "https://friend.example.evil.example", "x"]

StartServer = Callable[..., ServerThread]


def cors_of(answer: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


# --- hosts -------------------------------------------------------------------------------------------------------

UNKNOWN = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil",
    "localhost..",
    ".",
    "127.0.0.2",
    "[::2]:8000",
    "x@localhost",
    "localhost@x",
]


@pytest.mark.parametrize("host", UNKNOWN)
def test_an_unknown_host_is_refused_before_anything_else(api: Api, sid: str, host: str) -> None:
    before = api.last_seq(sid)
    for method, path in (
        *(("GET", "//"), ("GET", "//docs"), ("GET", "//openapi.json"), ("GET", "//metrics"), ("GET", "//nothing")),
        *(("GET", "/sessions"), ("POST", "/sessions"), ("DELETE", f"/sessions/{sid}"), ("PUT", "/sessions")),
        *(("OPTIONS", "/sessions"), ("POST", f"/sessions/{sid}/messages"), ("GET", f"/sessions/{sid}/events")),
    ):
        check_problem(api.ask(method, path, headers={"host": host}), 403, "unknown_host")
    assert api.last_seq(sid) == before


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "localhost.", "localhost.:8000", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:8000"],
)
def test_loopback_names_are_known_with_any_port(api: Api, host: str) -> None:
    assert api.get("/sessions", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("path", ["//healthz", "//readyz"])
def test_a_load_balancer_may_ask_for_health_under_any_name(api: Api, path: str) -> None:
    for host in UNKNOWN:
        assert api.get(path, headers={"host": host}).status_code == 200
    check_problem(api.get(path + "/x", headers={"host": "evil.example"}), 403, "unknown_host")


def test_configured_names_are_known_and_no_others(start_server: StartServer) -> None:
    api = start_server(hosts="chat.example.org, Other.example").api
    for host in ("chat.example.org", "CHAT.example.org:8443", "chat.example.org.", "other.example", "localhost"):
        assert api.get("/models", headers={"host": host}).status_code == 200
    for host in ("example.org", "x.chat.example.org", "chat.example.org.evil.example"):
        check_problem(api.get("/models", headers={"host": host}), 403, "unknown_host")


def test_an_unknown_host_is_told_with_what_would_make_it_known(api: Api) -> None:
    for host, told in (
        ("Chat.example:8000", "'chat.example'"),
        ("a\"'b", "'a\"\\'b'"),
        ("x" * 5_000, f"'{'x' * 100}…'"),
    ):
        detail = check_problem(api.get("/models", headers={"host": host}), 403, "unknown_host")["detail"]
        assert told in detail and "REJOINDER_HOSTS" in detail


def test_names_and_addresses_are_known_as_they_are_configured(start_server: StartServer) -> None:
    api = start_server(host="fd00::5", hosts="my_service,10.0.0.7,[FD00::6],a.example.").api
    for host in ("my_service:8000", "10.0.0.7", "[fd00::5]:8000", "[fd00::6]", "A.example.:80"):
        assert api.get("/models", headers={"host": host}).status_code == 200


# --- origins -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_of_another_origin_can_change_nothing(api: Api, sid: str, origin: str) -> None:
    turn = api.send_async(sid, slow())
    mid = turn["reply"]["id"]
    for method, path, body in (
        *(
            ("POST", "/sessions", {}),
            ("PATCH", f"/sessions/{sid}", {"title": "x"}),
            ("DELETE", f"/sessions/{sid}", None),
        ),
        *(
            ("POST", f"/sessions/{sid}/messages", {"content": "x"}),
            ("POST", f"/sessions/{sid}/messages/{mid}/stop", None),
        ),
    ):
        answer = api.ask(method, path, headers={"origin": origin}, **({} if body is None else {"json": body}))
        check_problem(answer, 403, "foreign_origin")
        assert cors_of(answer) == {}
    assert api.message(sid, mid)["status"] == "streaming"
    assert api.read_session(sid)["title"] is None
    api.stop(sid, mid)


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_of_another_origin_is_told_nothing_that_its_browser_would_show_it(api: Api, origin: str) -> None:
    answer = api.get("/sessions", headers={"origin": origin})
    assert answer.status_code == 200
    assert cors_of(answer) == {}
    preflight = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    answer = api.ask("OPTIONS", "/sessions", headers=preflight)
    check_problem(answer, 403, "foreign_origin")
    assert cors_of(answer) == {}


def test_a_foreign_origin_is_told_with_what_would_let_it_in(api: Api) -> None:
    for origin, told in (("https://Evil.example", "'https://evil.example'"), ("y" * 5_000, f"'{'y' * 100}…'")):
        answer = api.post("/sessions", json={}, headers={"origin": origin})
        detail = check_problem(answer, 403, "foreign_origin")["detail"]
        assert told in detail and "REJOINDER_ORIGINS" in detail


@pytest.mark.parametrize(
    ("configured", "sent"),
    [
        ("HTTPS://A.example:443/", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("http://[fd00::5]:5173", "http://[fd00::5]:5173"),
        ("tauri://localhost", "tauri://localhost"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
    ],
)
def test_an_origin_is_known_as_browsers_send_it(start_server: StartServer, configured: str, sent: str) -> None:
    api = start_server(origins=configured).api
    assert cors_of(api.post("/sessions", json={}, headers={"origin": sent}))["access-control-allow-origin"] == sent


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_origin_cannot_even_have_the_service_look(api: Api, sid: str, site: str) -> None:
    """A browser tells no origin where a page does not want to see the answer; how long it took, it sees all the same."""
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    for path in (
        "/search?q=word",
        "/sessions?q=word",
        f"/sessions/{sid}/messages",
        f"/sessions/{sid}/events",
        "/events",
    ):
        for more in ({}, {"origin": "https://evil.example"}, {"sec-fetch-mode": "navigate"}):
            answer = api.get(path, headers=headers | more)
            check_problem(answer, 403, "foreign_origin")
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    for path in ("//", "//docs", "//openapi.json", "//healthz", "//readyz", "//page/main.js"):
        assert api.get(path, headers=headers | {"sec-fetch-mode": "navigate"}).status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_service_s_own_page_and_a_person_at_the_address_bar_may_look(api: Api, site: str) -> None:
    assert api.get("/search?q=word", headers={"sec-fetch-site": site}).status_code == 200


@pytest.mark.parametrize(
    "path", ["//", "//docs", "//openapi.json", "//page/main.js", "//metrics", "//healthz", "/sessions", "/nothing"]
)
def test_no_answer_may_be_taken_into_a_page_of_another_origin(api: Api, path: str) -> None:
    assert api.get(path).headers["cross-origin-resource-policy"] == "same-origin"


def test_the_service_s_own_page_may_do_everything(api: Api) -> None:
    own = f"http://{urlsplit(api.url).netloc}"
    answer = api.post("/sessions", json={}, headers={"origin": own})
    assert answer.status_code == 201
    assert cors_of(answer) == {}
    other_port = f"http://{urlsplit(api.url).hostname}:1"
    check_problem(api.post("/sessions", json={}, headers={"origin": other_port}), 403, "foreign_origin")


def test_a_client_that_is_no_page_has_no_origin_and_may_do_everything(api: Api) -> None:
    answer = api.post("/sessions", json={})
    assert answer.status_code == 201
    assert cors_of(answer) == {}
    assert "vary" not in answer.headers


@pytest.fixture(scope="module")
def friendly() -> Iterator[Api]:
    """A server with two configured origins."""
    with serving(origins=f"{FRIEND}, http://localhost:5173/") as server:
        yield server.api


@pytest.mark.parametrize("origin", [FRIEND, "http://localhost:5173"])
def test_a_configured_origin_may_do_everything_and_reads_the_answer(friendly: Api, origin: str) -> None:
    headers = {"origin": origin}
    made = friendly.post("/sessions", json={}, headers=headers)
    sid = made.json()["id"]
    for answer in (
        made,
        friendly.get("/sessions", headers=headers),
        friendly.get(f"/sessions/{sid}", headers=headers),
        friendly.ask("PATCH", f"/sessions/{sid}", json={"title": "x"}, headers=headers),
        friendly.post(f"/sessions/{sid}/messages", json={"content": "x"}, headers=headers),
        friendly.post(
            f"/sessions/{sid}/messages", json={"content": "x"}, headers=headers | {"prefer": "respond-async"}
        ),
        friendly.ask("DELETE", f"/sessions/{sid}", headers=headers),
    ):
        assert answer.is_success
        assert cors_of(answer) == {"access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED}
        assert "origin" in answer.headers["vary"].lower()


def test_problems_too_may_be_read_by_a_configured_origin(friendly: Api) -> None:
    for answer in (
        friendly.get("/sessions/x", headers={"origin": FRIEND}),
        friendly.post("/sessions", json={"x": 1}, headers={"origin": FRIEND}),
        friendly.get("//nothing", headers={"origin": FRIEND}),
        friendly.get("/sessions", headers={"origin": FRIEND, "host": "evil.example"}),
    ):
        assert answer.status_code >= 400
        assert cors_of(answer)["access-control-allow-origin"] == FRIEND


def test_a_configured_origin_is_known_as_its_browser_tells_it(friendly: Api) -> None:
    for site in ("cross-site", "same-site"):
        assert friendly.get("/search?q=word", headers={"origin": FRIEND, "sec-fetch-site": site}).status_code == 200
        check_problem(friendly.get("/search?q=word", headers={"sec-fetch-site": site}), 403, "foreign_origin")


def test_a_preflight_names_exactly_what_is_allowed(friendly: Api) -> None:
    asked = {
        "origin": FRIEND,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type, idempotency-key",
    }
    for path in ("/sessions", "/sessions/x/messages", "/sessions/x/messages/y/stop"):
        answer = friendly.ask("OPTIONS", path, headers=asked)
        assert answer.status_code == 204
        said = cors_of(answer)
        assert said.pop("access-control-max-age").isdecimal()
        assert set(said.pop("access-control-allow-methods").split(", ")) == {"GET", "POST", "PATCH", "DELETE"}
        assert said == {
            "access-control-allow-origin": FRIEND,
            "access-control-allow-headers": ALLOWED,
            "access-control-expose-headers": EXPOSED,
        }
        assert "access-control-allow-credentials" not in said


@pytest.mark.parametrize(
    "origin", [*FOREIGN, "http://friend.example", f"{FRIEND}:444", "http://localhost:5174", "https://x.friend.example"]
)
def test_no_other_origin_gets_anything(friendly: Api, origin: str) -> None:
    asked = {"origin": origin, "access-control-request-method": "POST"}
    preflight = friendly.ask("OPTIONS", "/sessions", headers=asked)
    check_problem(preflight, 403, "foreign_origin")
    sent = friendly.post("/sessions", json={}, headers={"origin": origin})
    check_problem(sent, 403, "foreign_origin")
    read = friendly.get("/sessions", headers={"origin": origin})
    assert cors_of(preflight) == cors_of(sent) == cors_of(read) == {}


def test_a_page_of_a_configured_origin_reads_a_stream(friendly: Api) -> None:
    sid = friendly.session()
    with friendly.send_streamed(sid, script("tokens=3"), headers={"origin": FRIEND}) as stream:
        assert stream.response.headers["access-control-allow-origin"] == FRIEND
        assert stream.rest()[-1].type == "message.ended"
