"""Several OpenAI-compatible APIs beside one another: each with its own models, its own key, and its own parameters."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from rejoinder.llm.ask import ask
from rejoinder.settings import Settings
from rejoinder.testing.upstream import ScriptedUpstream
from serving import ServerThread, serving
from upstreams import upstream_running
from wire import Api, Json, check_problem, eventually

KEYS = {"openai": "sk-first", "groq": "gsk-second"}


class Two:
    """`openai` and a further upstream that is called groq."""

    def __init__(self, stack: ExitStack) -> None:
        self.openai, self.groq = (
            stack.enter_context(upstream_running(upstream=ScriptedUpstream(models=models)))
            for models in (["big", "small"], ["quick", "org/slow:free"])
        )

    def settings(self) -> Json:
        return {
            "openai_base_url": self.openai.base_url,
            "openai_api_key": KEYS["openai"],
            "upstreams": {"groq": self.groq.base_url, "house": "http://127.0.0.1:1/v1"},
            "upstream_keys": {"groq": KEYS["groq"]},
        }

    def asked(self) -> list[tuple[str, str, str]]:
        """Who was asked for a reply, by which key, and for which model."""
        return [
            (name, record.headers["authorization"], json.loads(record.body)["model"])
            for name, upstream in (("openai", self.openai), ("groq", self.groq))
            for record in upstream.requests
            if record.method == "POST"
        ]


@pytest.fixture
def two() -> Iterator[Two]:
    with ExitStack() as stack:
        yield Two(stack)


@pytest.fixture
def server(two: Two) -> Iterator[ServerThread]:
    extra = "provider, groq:service_tier, openai:store"
    with serving(model="openai:big", retries=0, extra_params=extra, **two.settings()) as server:
        yield server


@pytest.fixture
def api(server: ServerThread) -> Api:
    return server.api


def test_each_is_asked_for_its_own_models_with_its_own_key(api: Api, two: Two) -> None:
    for model in (None, "groq:org/slow:free", "groq", "openai:small", "small"):
        reply = api.send_whole(api.session(model=model), "hi")["reply"]
        assert (reply["status"], reply["content"], reply["model"]) == ("completed", "hi", model or "openai:big")
    first, second = (f"Bearer {key}" for key in KEYS.values())
    assert two.asked() == [
        ("openai", first, "big"),
        ("openai", first, "small"),
        ("openai", first, "small"),
        ("groq", second, "org/slow:free"),
        ("groq", second, "quick"),
    ]


def test_the_models_of_all_are_listed_but_of_one_that_is_away(api: Api) -> None:
    listed = [model["id"] for model in api.get("/models").json()["data"]]
    assert listed == ["openai:big", "openai:small", "groq:quick", "groq:org/slow:free"]


def test_where_one_is_away_or_refuses_another_goes_on(api: Api, two: Two) -> None:
    sid = api.session(model=["house:x", "openai:big", "groq:quick"])
    reply = api.send_whole(sid, "hi")["reply"]
    assert (reply["status"], reply["model"]) == ("completed", "openai:big")
    assert [attempt["error"] and attempt["error"]["code"] for attempt in reply["attempts"]] == [
        "upstream_unavailable",
        None,
    ]

    with upstream_running("fail=401") as refusing:
        settings = two.settings() | {"openai_base_url": refusing.base_url}
        with serving(model="openai:big, groq:quick", **settings) as server:
            reply = server.api.send_whole(server.api.session(model=["openai:big", "groq"]), "hi")["reply"]
        assert (reply["status"], reply["content"], reply["model"]) == ("completed", "hi", "groq")
        assert [attempt["error"] and attempt["error"]["code"] for attempt in reply["attempts"]] == [
            "upstream_auth",
            None,
        ]
        assert not any(key in json.dumps(reply) for key in KEYS.values())


def test_a_parameter_that_one_takes_goes_to_that_one_alone(api: Api, two: Two) -> None:
    params: Json = {"provider": {}, "service_tier": "flex", "store": False, "seed": 1}
    sid = api.session(model=["house:x", "groq:quick"], params=params)
    replies = [api.send_whole(sid, "hi", **chosen)["reply"] for chosen in ({}, {"model": "openai:big"})]
    for reply, upstream, foreign in zip(replies, (two.groq, two.openai), ("store", "service_tier"), strict=True):
        body = json.loads(upstream.requests[-1].body)
        assert {name: body[name] for name in params if name in body} == {
            k: v for k, v in params.items() if k != foreign
        }
        told = api.get(f"/sessions/{sid}/messages/{reply['id']}/prompt").json()["data"]
        assert (told[-1]["request"], told[-1]["exact"]) == (body, True)
    refused = api.post("/sessions", json={"params": {"groq:service_tier": 1}})
    check_problem(refused, 422, "invalid_request")


def test_titles_are_made_where_the_setting_says(two: Two) -> None:
    with serving(model="openai:big", title_model="groq:quick", **two.settings()) as server:
        api = server.api
        sid = api.session()
        api.send_whole(sid, "hi")
        eventually(lambda: api.get(f"/sessions/{sid}").json()["title"])
    assert [name for name, _, _ in two.asked()] == ["openai", "groq"]


def test_without_a_default_the_first_of_them_is_one(two: Two) -> None:
    settings = two.settings() | {"openai_base_url": None, "openai_api_key": None}
    with serving(model="", **settings) as server:
        assert server.api.send_whole(server.api.session(), "hi")["reply"]["model"] == "groq"
    assert two.asked() == [("groq", f"Bearer {KEYS['groq']}", "quick")]


def test_they_are_read_from_the_environment(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REJOINDER_UPSTREAMS", f"house = http://127.0.0.1:1/v1?a=b, groq={two.groq.base_url},")
    monkeypatch.setenv("REJOINDER_UPSTREAM_KEYS", "groq=gsk=second")
    settings = Settings.from_environment()
    assert settings.upstreams == {"house": "http://127.0.0.1:1/v1?a=b", "groq": two.groq.base_url}
    assert "gsk" not in repr(settings)
    assert ask("hi", model="groq:quick", settings=settings) == "hi"
    assert "".join(ask("hi", model="groq", stream=True, settings=settings)) == "hi"
    assert two.asked() == [("groq", "Bearer gsk=second", "quick")] * 2
