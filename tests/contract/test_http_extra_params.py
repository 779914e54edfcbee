"""Parameters that are an upstream's own: where the settings name them they go upstream as they are, and elsewhere they are refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from rejoinder.testing.upstream import ScriptedUpstream
from serving import serving
from upstreams import upstream_running
from wire import Api, Json, check_problem

OWN = {
    "chat_template_kwargs": {"enable_thinking": False, "budget": 1.0},
    "provider": {"order": ["a", "b"], "data_collection": "deny"},
}
NAMES = "chat_template_kwargs, provider"


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with upstream_running() as running:
        yield running


@pytest.fixture(scope="module")
def api(upstream: ScriptedUpstream) -> Iterator[Api]:
    with serving(model="openai:echo", openai_base_url=upstream.base_url, extra_params=NAMES) as server:
        yield server.api


@pytest.fixture(scope="module")
def plain(upstream: ScriptedUpstream) -> Iterator[Api]:
    with serving(model="openai:echo", openai_base_url=upstream.base_url) as server:
        yield server.api


def asked(upstream: ScriptedUpstream) -> Json:
    body: Json = json.loads(upstream.requests[-1].body)
    return body


def own(said: Json) -> Json:
    return {name: said[name] for name in OWN if name in said}


def test_they_go_upstream_as_they_are(api: Api, upstream: ScriptedUpstream) -> None:
    sid = api.session(params=OWN | {"temperature": 0})
    assert api.get(f"/sessions/{sid}").json()["params"] == OWN | {"temperature": 0}
    reply = api.send_whole(sid, "hi")["reply"]
    assert reply["status"] == "completed"
    assert own(asked(upstream)) == OWN
    assert b'"budget":1.0' in upstream.requests[-1].body
    [told] = api.get(f"/sessions/{sid}/messages/{reply['id']}/prompt").json()["data"]
    assert told["exact"] and own(told["request"]) == OWN


def test_a_message_sets_its_own_in_place_of_those_of_its_session(api: Api, upstream: ScriptedUpstream) -> None:
    sid = api.session(params=OWN)
    sent = api.send_whole(sid, "hi", params={"provider": {"order": ["c"]}})
    assert own(asked(upstream)) == OWN | {"provider": {"order": ["c"]}}
    headers = {"accept": "application/json"}
    body = {"params": {"provider": None}}
    again = api.post(f"/sessions/{sid}/messages/{sent['message']['id']}/replies", json=body, headers=headers)
    assert again.json()["reply"]["status"] == "completed"
    assert own(asked(upstream)) == OWN | {"provider": None}
    assert api.ask("PATCH", f"/sessions/{sid}", json={"params": {}}).json()["params"] == {}
    api.send_whole(sid, "and now")
    assert own(asked(upstream)) == {}


def test_they_are_part_of_what_makes_a_retry_the_same_request(api: Api) -> None:
    sid, mid = api.session(), f"msg_{7:032x}"
    first = api.send_whole(sid, "hi", id=mid, params=OWN)
    assert api.send_whole(sid, "hi", id=mid, params=OWN) == first
    other = {"content": "hi", "id": mid, "params": OWN | {"provider": {}}}
    check_problem(api.post(f"/sessions/{sid}/messages", json=other), 422, "idempotency_mismatch")


@pytest.mark.parametrize("where", ["session", "change", "send", "results", "another reply", "continue"])
def test_what_the_settings_do_not_name_is_refused(api: Api, plain: Api, where: str) -> None:
    for server, params in ((api, OWN | {"temprature": 1}), (plain, {"provider": {}})):
        sid = server.session()
        turn = server.send_whole(sid, "hi")
        before = server.last_seq(sid)
        results = {"role": "tool", "results": [{"tool_call_id": "x", "content": ""}]}
        requests: dict[str, tuple[str, str, Json]] = {
            "session": ("POST", "", {}),
            "change": ("PATCH", f"/{sid}", {}),
            "send": ("POST", f"/{sid}/messages", {"content": "x"}),
            "results": ("POST", f"/{sid}/messages", results),
            "another reply": ("POST", f"/{sid}/messages/{turn['message']['id']}/replies", {}),
            "continue": ("POST", f"/{sid}/messages/{turn['reply']['id']}/continue", {}),
        }
        method, path, body = requests[where]
        answer = server.ask(method, f"/sessions{path}", json={**body, "params": params})
        [error] = check_problem(answer, 422, "invalid_request")["errors"]
        assert error["loc"] == f"body.params.{list(params)[-1]}"
        assert "REJOINDER_EXTRA_PARAMS" in error["message"]
        assert server.last_seq(sid) == before


def test_names_without_end_are_told_by_their_beginnings(plain: Api) -> None:
    params: Json = {f"{'n' * 5_000}{number}": 1 for number in range(50)}
    told = check_problem(plain.post("/sessions", json={"params": params}), 422, "invalid_request")
    assert len(told["errors"]) == 20
    assert all(len(error["loc"]) < 100 for error in told["errors"])


def test_they_move_with_a_session_to_where_they_are_known(api: Api, plain: Api) -> None:
    sid = api.session(params=OWN)
    api.send_whole(sid, "hi", params={"provider": {"order": ["d"]}})
    whole = api.get(f"/sessions/{sid}/export").content
    ndjson = {"content-type": "application/x-ndjson"}
    refused = check_problem(plain.post("/import", content=whole, headers=ndjson), 422, "invalid_request")
    assert "REJOINDER_EXTRA_PARAMS" in json.dumps(refused["errors"])
    assert plain.get(f"/sessions/{sid}").status_code == 404
    assert api.ask("DELETE", f"/sessions/{sid}").status_code == 204
    assert api.post("/import", content=whole, headers=ndjson).status_code == 201
    assert api.get(f"/sessions/{sid}/export").content == whole


def test_titles_and_summaries_are_asked_for_with_those_of_the_session() -> None:
    """Some say who may see a text at all. What else a session sets is about its replies."""
    with upstream_running() as upstream:
        settings: dict[str, Any] = {"model": "openai:echo", "openai_base_url": upstream.base_url, "title_model": ""}
        with serving(**settings, extra_params=NAMES, context_windows={"openai": 200}) as server:
            api = server.api
            sid = api.session(params=OWN | {"context": "summarise", "max_tokens": 50})
            for number in range(30):
                api.send_whole(sid, f"turn{number} alpha beta gamma")
            usage = api.get(f"/sessions/{sid}/usage").json()
            assert usage["summaries"] > 0 and usage["titles"] > 0, usage
            bodies = [json.loads(record.body) for record in upstream.requests if record.path == "/v1/chat/completions"]
            aside = [body for body in bodies if "max_tokens" not in body]
            assert len(aside) == usage["summaries"] + usage["titles"]
            assert all(own(body) == OWN for body in bodies)


@pytest.mark.parametrize(
    "name", ["model", "messages", "stream", "stream_options", "n", "functions", "function_call", "a b", "{}", "a" * 65]
)
def test_a_name_that_can_be_none_keeps_the_service_from_starting(name: str) -> None:
    with pytest.raises(ValueError, match="extra_params"), serving(extra_params=f"fine,{name}"):
        pass
