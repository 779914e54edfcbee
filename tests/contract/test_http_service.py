"""What tells of the service itself: models, health, figures, the page, and a schema that agrees with the code."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
import pytest

from rejoinder import errors
from serving import ServerThread
from wire import Api, Json, check_problem, message_id, script, session_id, slow

StartServer = Callable[..., ServerThread]


@pytest.fixture(scope="module")
def schema(api: Api) -> Json:
    answer = api.get("//openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found: Json = answer.json()
    return found


# --- models, health, figures -------------------------------------------------------------------------------------


def test_the_models_that_a_session_may_name_are_listed_with_one_default(api: Api) -> None:
    models = api.get("/models").json()["data"]
    assert sum(model["default"] for model in models) == 1 and models[0]["default"]
    for model in models:
        assert model.keys() == {"id", "default", "prefill"}
        sid = api.session(model=model["id"])
        reply = api.send_whole(sid, script("tokens=3"), params={"max_tokens": 1})["reply"]
        assert reply["model"] == model["id"]
        status = api.post(f"/sessions/{sid}/messages/{reply['id']}/continue", json={}).status_code
        assert model["prefill"] is (status < 300)  # else a 409 `cannot_continue`


def test_several_models_are_listed_the_default_first(start_server: StartServer) -> None:
    api = start_server(model="scripted:tokens=2, scripted:tokens=3").api
    named = [model["id"] for model in api.get("/models").json()["data"]]
    assert named[:2] == ["scripted:tokens=2", "scripted:tokens=3"]
    assert api.send_whole(api.session(), "x")["reply"]["content"] == "t0 t1"


@pytest.mark.parametrize("path", ["//healthz", "//readyz"])
def test_a_server_that_serves_is_alive_and_ready(api: Api, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


FIGURE = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\.)*",?)*\})? [-+0-9.eEIinfNa]+')


def figures(api: Api) -> dict[str, float]:
    answer = api.get("//metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
    assert lines and all(FIGURE.fullmatch(line) for line in lines)
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_figures_count_what_was_done_and_the_log_names_what_failed(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    api = start_server().api
    sid = api.session()
    api.send_whole(sid, script("tokens=4"))
    caplog.set_level("INFO")
    failed = api.send_whole(sid, script("tokens=9 fail=upstream_auth@1"))["reply"]["id"]
    assert [record.getMessage() for record in caplog.records if failed in record.getMessage()] == [
        f"reply {failed}: upstream_auth, and it has failed"
    ]
    live = api.send_async(sid, slow())["reply"]["id"]
    with api.follow(sid, live) as stream:
        stream.until("message.delta")
        during = figures(api)
        api.stop(sid, live)
        stream.rest()
    assert (during["rejoinder_live_replies"], during["rejoinder_open_streams"]) == (1, 1)
    after = figures(api)
    assert after["rejoinder_live_replies"] == 0
    ended = {name: value for name, value in after.items() if name.startswith("rejoinder_replies_ended_total")}
    assert sorted(ended.values()) == [1, 1, 1]
    assert after['rejoinder_replies_ended_total{error="upstream_auth",status="failed"}'] == 1
    assert after['rejoinder_events_total{type="message.ended"}'] == 3
    assert after['rejoinder_events_total{type="session.created"}'] == 1
    assert after['rejoinder_tokens_total{direction="output",source="provider"}'] == 4


def test_figures_name_no_session_and_no_text(api: Api, sid: str) -> None:
    api.send_whole(sid, "a-very-secret-word")
    text = api.get("//metrics").text
    assert sid not in text and "a-very-secret-word" not in text


# --- the page and the reference ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["//", "//docs"])
def test_the_page_and_the_reference_are_html_under_a_strict_policy(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 200, "the file of the page is there"
    assert answer.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert (policy["base-uri"], policy["form-action"], policy["frame-ancestors"]) == ("'none'", "'none'", "'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>\s*\S", answer.text), "no script stands in the page itself"
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", answer.text), "and nothing comes from elsewhere"


@pytest.mark.parametrize("path", ["//", "//docs"])
def test_what_a_page_names_is_there(api: Api, path: str) -> None:
    named = set(re.findall(r"""(?:src|href)=["']([^"'#]+)["']""", api.get(path).text))
    assert named
    for place in named:
        answer = api.http.get(api.http.base_url.join(place))
        assert answer.status_code == 200, place
        assert answer.headers.get("x-content-type-options") == "nosniff", place


@pytest.mark.parametrize(
    "path", ["//page/../settings.py", "//page/%2e%2e/settings.py", "//page/..%2fsettings.py", "//page/nothing.js"]
)
def test_nothing_but_the_page_s_own_files_is_served(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404
    check_problem(answer, 404, "not_found")


# --- the schema --------------------------------------------------------------------------------------------------

ROUTES: dict[str, set[str]] = {
    "/v1/sessions": {"get", "post"},
    "/v1/sessions/{sid}": {"get", "patch", "delete"},
    "/v1/sessions/{sid}/events": {"get"},
    "/v1/sessions/{sid}/fork": {"post"},
    "/v1/sessions/{sid}/usage": {"get"},
    "/v1/sessions/{sid}/export": {"get"},
    "/v1/import": {"post"},
    "/v1/sessions/{sid}/messages": {"get", "post"},
    "/v1/sessions/{sid}/messages/{mid}": {"get"},
    "/v1/sessions/{sid}/messages/{mid}/events": {"get"},
    "/v1/sessions/{sid}/messages/{mid}/stop": {"post"},
    "/v1/sessions/{sid}/messages/{mid}/replies": {"post"},
    "/v1/sessions/{sid}/messages/{mid}/continue": {"post"},
    "/v1/sessions/{sid}/messages/{mid}/prompt": {"get"},
    "/v1/events": {"get"},
    "/v1/search": {"get"},
    "/v1/models": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
}


def operations(schema: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_schema_has_every_route_and_no_other(schema: Json) -> None:
    assert {path: set(methods) for path, methods in schema["paths"].items()} == ROUTES


def test_every_operation_says_what_it_does_and_how_it_fails(schema: Json) -> None:
    for path, method, operation in operations(schema):
        assert operation.get("description") or operation.get("summary"), (method, path)
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (method, path, status)
        if "{sid}" in path:
            assert "404" in operation["responses"], (method, path)
        if "requestBody" in operation:
            assert {"400", "408", "413", "415", "422"} <= operation["responses"].keys(), (method, path)
        if any(
            parameter["in"] == "query" and parameter["name"] == "limit" for parameter in operation.get("parameters", ())
        ):
            assert "422" in operation["responses"], (method, path)


def test_every_reference_in_the_schema_is_there(schema: Json) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    found = set(references(schema))
    assert found
    for reference in found:
        place: Any = schema
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


def test_a_stream_and_a_file_are_told_by_their_own_type_alone(schema: Json) -> None:
    for path, kind in (
        ("/v1/events", "text/event-stream"),
        ("/v1/sessions/{sid}/events", "text/event-stream"),
        ("/v1/sessions/{sid}/messages/{mid}/events", "text/event-stream"),
        ("/v1/sessions/{sid}/export", "application/jsonl"),
    ):
        assert list(documented(schema, path, "get", 200)["content"]) == [kind]


def test_what_is_always_sent_is_required(api: Api, sid: str, schema: Json) -> None:
    turn = api.send_whole(sid, script("tokens=2 calls=1"))
    schemas = schema["components"]["schemas"]
    for name, said, at_times in (
        ("Session", api.read_session(sid), set[str]()),
        ("Message", turn["reply"], {"reasoning_details"}),
    ):
        assert set(schemas[name]["required"]) == said.keys()
        assert schemas[name]["properties"].keys() - said.keys() == at_times
        assert not [field for field in schemas[name]["properties"].values() if "default" in field]


def test_the_schema_is_one_that_generators_of_clients_read(schema: Json) -> None:
    """What Python's takes for no schema is `items: false`, by which a list tells that it is a tuple."""
    assert schema["components"]["schemas"]["SearchHit"]["properties"]["matches"]["items"] == {
        "type": "array",
        "items": {"type": "integer"},
        "minItems": 2,
        "maxItems": 2,
    }


def test_every_answer_that_any_request_may_get_is_listed(schema: Json) -> None:
    for path, method, operation in operations(schema):
        wanted = {"405", "431", "500"} if path in ("/healthz", "/readyz") else {"403", "405", "431", "500"}
        assert wanted <= operation["responses"].keys(), (method, path)
        refuses = "requestBody" in operation or {"limit", "q"} & {
            each["name"] for each in operation.get("parameters", ())
        }
        assert bool(refuses) is ("422" in operation["responses"]), (method, path)
        for status, name in (("405", "Allow"), ("409", "x-should-retry"), ("503", "Retry-After")):
            assert status not in operation["responses"] or name in operation["responses"][status]["headers"]


def test_the_headers_of_requests_and_answers_are_told(api: Api, sid: str, schema: Json) -> None:
    messages = "/v1/sessions/{sid}/messages"
    for path in (messages, f"{messages}/{{mid}}/replies", f"{messages}/{{mid}}/continue"):
        operation = schema["paths"][path]["post"]
        names = {parameter["name"].lower() for parameter in operation["parameters"] if parameter["in"] == "header"}
        assert names == {"last-event-id", "idempotency-key", "prefer"}
        for status in ("200", "202", "204"):
            assert {"Location", "Content-Location"} <= operation["responses"][status]["headers"].keys()
    receipt = api.post(f"/sessions/{sid}/messages", json={"content": "x"}, headers={"prefer": "respond-async"})
    assert all(name in receipt.headers for name in documented(schema, messages, "post", 202)["headers"])
    for path in ("/v1/sessions", "/v1/sessions/{sid}/fork", "/v1/import"):
        assert list(documented(schema, path, "post", 201)["headers"]) == ["Location"]


def test_what_the_settings_allow_is_told(start_server: StartServer) -> None:
    api = start_server(max_page=7, max_title=5, max_metadata=3, max_text=9, extra_params="openai:store,provider").api
    schema = api.get("//openapi.json").json()
    listing = {each["name"]: each["schema"] for each in schema["paths"]["/v1/sessions"]["get"]["parameters"]}
    assert {"type": "integer", "minimum": 1, "maximum": 7} in listing["limit"]["anyOf"]
    assert {"type": "string", "minLength": 1, "maxLength": 512} in listing["q"]["anyOf"]
    [key] = schema["paths"]["/v1/sessions"]["post"]["parameters"]
    assert (key["schema"]["minLength"], key["schema"]["maxLength"]) == (1, 255)
    for name in ("NewSessionBody", "SessionChangeBody", "ForkBody"):
        assert {"type": "string", "maxLength": 5} in schema["components"]["schemas"][name]["properties"]["title"][
            "anyOf"
        ]
    fields = schema["components"]["schemas"]["SessionChangeBody"]["properties"]
    assert (fields["metadata"]["maxProperties"], fields["system_prompt"]["anyOf"][0]["maxLength"]) == (3, 9)
    assert "default" not in fields["head"]
    params = schema["components"]["schemas"]["Params"]
    assert {"store", "provider", "seed"} <= params["properties"].keys() and params["additionalProperties"] is False


def documented(schema: Json, path: str, method: str, status: int) -> Json:
    found: Json = schema["paths"][path][method]["responses"][str(status)]
    return found


def conforms(schema: Json, documented: Json, media_type: str, said: Any) -> None:
    """Every field is told, too: clients that are generated know no other."""
    schemas = {
        name: {**found, "additionalProperties": False} if "properties" in found else found
        for name, found in schema["components"]["schemas"].items()
    }
    wanted = {**documented["content"][media_type]["schema"], "components": {"schemas": schemas}}
    jsonschema_rs.Draft202012Validator(wanted).validate(said)


def test_what_is_answered_is_what_the_schema_says(api: Api, schema: Json) -> None:
    """One call of each kind; the fuzz test throws many more at it."""
    sid = api.session(title="x", model=["scripted:echo"], params={"tools": []})
    turn = api.send_whole(sid, script("tokens=2 reasoning=1 calls=1"))
    failed = api.send_whole(sid, script("fail=429"))["reply"]["id"]
    live = api.send_async(sid, slow())["reply"]["id"]
    s, m = "/v1/sessions/{sid}", "/v1/sessions/{sid}/messages"
    unknown = session_id()
    calls: list[tuple[str, str, str, Json]] = [
        ("POST", "/v1/sessions", "/sessions", {"json": {}}),
        ("POST", "/v1/sessions", "/sessions", {"json": {"colour": "blue"}}),
        ("POST", "/v1/sessions", "/sessions", {"content": "{", "headers": {"content-type": "application/json"}}),
        ("POST", "/v1/sessions", "/sessions", {"content": "{}", "headers": {"content-type": "text/plain"}}),
        ("GET", "/v1/sessions", "/sessions", {}),
        ("GET", "/v1/sessions", "/sessions?limit=0", {}),
        ("GET", "/v1/sessions", "/sessions?after=x", {}),
        ("GET", s, f"/sessions/{sid}", {}),
        ("GET", s, f"/sessions/{unknown}", {}),
        ("PATCH", s, f"/sessions/{sid}", {"json": {"title": None}}),
        ("PATCH", s, f"/sessions/{sid}", {"json": {"head": message_id()}}),
        ("GET", m, f"/sessions/{sid}/messages", {}),
        ("GET", m, f"/sessions/{sid}/messages?branch=all", {}),
        ("GET", m, f"/sessions/{sid}/messages?limit=x", {}),
        ("GET", m, f"/sessions/{sid}/messages?as_of=x", {}),
        ("POST", m, f"/sessions/{sid}/messages", {"json": {"content": "x"}}),
        ("POST", m, f"/sessions/{sid}/messages", {"json": {"content": "x"}, "headers": {"accept": "image/png"}}),
        ("POST", m, f"/sessions/{sid}/messages", {"json": {"content": "x", "parent_id": message_id()}}),
        (
            "POST",
            m,
            f"/sessions/{sid}/messages",
            {"json": {"content": "x", "parent_id": None}, "headers": {"prefer": "respond-async"}},
        ),
        (
            "POST",
            m,
            f"/sessions/{sid}/messages",
            {"json": {"content": "x", "parent_id": None}, "headers": {"accept": "application/json"}},
        ),
        ("GET", m + "/{mid}", f"/sessions/{sid}/messages/{turn['reply']['id']}", {}),
        ("GET", m + "/{mid}", f"/sessions/{sid}/messages/{failed}", {}),
        ("GET", m + "/{mid}", f"/sessions/{sid}/messages/{live}", {}),
        ("GET", m + "/{mid}/events", f"/sessions/{sid}/messages/{turn['message']['id']}/events", {}),
        ("POST", m + "/{mid}/stop", f"/sessions/{sid}/messages/{live}/stop", {}),
        ("POST", m + "/{mid}/stop", f"/sessions/{sid}/messages/{turn['message']['id']}/stop", {}),
        ("GET", "/v1/models", "/models", {}),
        ("GET", "/healthz", "//healthz", {}),
        ("GET", "/readyz", "//readyz", {}),
    ]
    for method, route, path, request in calls:
        answer = api.ask(method, path, **request)
        assert answer.status_code < 500
        said = documented(schema, route, method.lower(), answer.status_code)
        media_type = answer.headers["content-type"]
        assert media_type in said.get("content", {}), (method, route, answer.status_code, "is not in the schema")
        conforms(schema, said, media_type, answer.json())


def test_the_codes_that_the_documents_name_are_those_that_there_are(api: Api, sid: str) -> None:
    codes = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.RejoinderError)
    }
    assert {
        *("session_not_found", "message_not_found", "not_found", "session_busy", "not_a_reply", "already_exists"),
        *("invalid_request", "idempotency_mismatch", "invalid_cursor", "store_unavailable", "overloaded"),
    } <= codes
