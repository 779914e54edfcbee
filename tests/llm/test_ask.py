"""`ask`: a prompt from a script, whole or streamed, of every kind of provider, also inside a running loop."""

import asyncio
import errno
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from raw_server import Connection, serving
from rejoinder.errors import Misconfigured, ProviderError
from rejoinder.llm import open_provider
from rejoinder.llm.ask import ask
from rejoinder.llm.scripted_answer import full_text
from rejoinder.settings import Settings
from rejoinder.testing.upstream import ScriptedUpstream


@pytest.fixture
def served() -> Iterator[ScriptedUpstream]:
    """A scripted upstream in a thread, for callers that block."""
    started: list[ScriptedUpstream] = []
    loop = asyncio.new_event_loop()
    ready, stopping = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with ScriptedUpstream() as upstream:
            started.append(upstream)
            loop.call_soon_threadsafe(ready.set)
            await stopping.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait()
    yield started[0]
    loop.call_soon_threadsafe(stopping.set)
    thread.join()
    loop.close()


@pytest.fixture
def settings(served: ScriptedUpstream) -> Settings:
    return Settings(openai_api_key="sk-test-1", openai_base_url=served.base_url, model="openai:m", _env_file=None)


MODELS = ["openai:m", "scripted"]


@pytest.mark.parametrize("model", MODELS)
def test_whole_and_streamed_give_the_same_text(settings: Settings, model: str) -> None:
    assert ask("/script story reasoning=3", model=model, settings=settings) == full_text("story")
    pieces = list(ask("/script story reasoning=3 pace=0.002", model=model, stream=True, settings=settings))
    assert "".join(pieces) == full_text("story")
    assert len(pieces) > 5


def test_what_is_asked(settings: Settings, served: ScriptedUpstream) -> None:
    assert ask("hi", system="Be brief.", temperature=0, settings=settings) == "hi"
    messages = [{"role": "assistant", "content": "one"}, {"role": "user", "content": "two"}]
    assert "".join(ask(messages, settings=settings, stream=True)) == "two"
    whole, streamed = [json.loads(record.body) for record in served.requests]
    first = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert whole == {"model": "m", "messages": first, "temperature": 0}
    assert (streamed["messages"], streamed["stream"]) == (messages, True)


def test_without_a_name_the_first_model_is_asked(settings: Settings, served: ScriptedUpstream) -> None:
    assert ask("hi", model="openai", settings=settings) == "hi"
    assert json.loads(served.requests[-1].body)["model"] == "echo"


async def test_what_a_server_refuses_of_the_usual_form_it_is_asked_without() -> None:
    refusals = {b"stream_options": "stream_options: extra", b'"system"': "System role not supported"}

    async def talk(connection: Connection) -> None:
        while True:
            body = (await connection.request()).body
            if refused := next((said for sign, said in refusals.items() if sign in body), None):
                await connection.answer(json.dumps({"error": {"message": refused}}).encode(), "400 Bad Request")
            else:
                await connection.answer(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}')

    async with serving(talk) as server:
        settings = Settings(openai_base_url=server.url, model="openai:m", _env_file=None)
        pieces = await asyncio.to_thread(lambda: list(ask("hi", system="Be brief.", stream=True, settings=settings)))
        refusals[b""] = "It is refused whatever its form"
        with pytest.raises(ProviderError, match="whatever its form"):
            await asyncio.to_thread(ask, "hi", settings=settings)
    assert pieces == ["hi"]
    assert len(server.requests) == 4


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("429", "upstream_rate_limited"),
        ("reset@3", "upstream_incomplete"),
        ("eof@3", "upstream_incomplete"),
        ("error@3", "upstream_error"),
        ("401", "upstream_auth"),
    ],
)
def test_faults_are_provider_errors_after_what_was_said(settings: Settings, model: str, fault: str, code: str) -> None:
    prompt = f"/script tokens=9 pace=0.01 fail={fault}"
    said: list[str] = []
    with pytest.raises(ProviderError) as streamed:
        said.extend(ask(prompt, model=model, stream=True, settings=settings))
    with pytest.raises(ProviderError) as whole:
        ask(prompt, model=model, settings=settings)
    assert (streamed.value.code, whole.value.code) == (code, code)
    assert "".join(said) == (full_text("tokens=3") if "@" in fault else "")


@pytest.mark.parametrize("model", MODELS)
def test_a_filtered_reply_is_an_error(settings: Settings, model: str) -> None:
    with pytest.raises(ProviderError) as caught:
        ask("/script tokens=2 finish=content_filter", model=model, settings=settings)
    assert caught.value.code == "content_filtered"


def test_leaving_closes_the_connection(settings: Settings, served: ScriptedUpstream) -> None:
    pieces = ask("/script tokens=1000 pace=0.01", stream=True, settings=settings)
    assert next(pieces).startswith("t0")
    pieces.close()  # type: ignore[attr-defined]
    assert asyncio.run(served.ended()).end == "client left"


def test_leaving_a_scripted_reply_ends_its_thread(settings: Settings) -> None:
    pieces = ask("/script tokens=1000 pace=0.01", model="scripted", stream=True, settings=settings)
    assert next(pieces) == "t0"
    pieces.close()  # type: ignore[attr-defined]
    assert "rejoinder.ask" not in [thread.name for thread in threading.enumerate()]


async def test_it_works_inside_a_running_loop() -> None:
    assert ask("hi", model="scripted", settings=Settings(_env_file=None)) == "hi"


def test_an_event_loop_that_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio, "new_event_loop", none_left)
    monkeypatch.setattr(asyncio.events, "new_event_loop", none_left)
    with pytest.raises(OSError, match="Too many"):
        ask("hi", model="scripted", settings=Settings(_env_file=None))


def test_silence_is_an_error(settings: Settings) -> None:
    impatient = settings.model_copy(update={"first_token_timeout": 0.2})
    with pytest.raises(ProviderError) as caught:
        ask("/script hang", settings=impatient)
    assert caught.value.code == "upstream_timeout"


def test_a_model_that_cannot_be_had_is_told_in_a_sentence() -> None:
    bare = Settings(_env_file=None)
    for name, told in (("openai:x", "OPENAI_API_KEY"), ("gpt-5", "REJOINDER_MODEL"), ("scripted:no-such", "no script")):
        with pytest.raises(Misconfigured, match=told):
            open_provider(name, bare)
        with pytest.raises(Misconfigured, match=told):
            ask("hi", model=name, settings=bare)


@pytest.mark.parametrize("module", ["rejoinder", "rejoinder.llm", "rejoinder.llm.ask", "rejoinder.llm.openai"])
def test_importing_costs_no_sdk(module: str) -> None:
    code = f"import {module}, sys; assert not {{'openai', 'httpx2', 'xllamacpp'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
