"""What is done with is gone at once. What holds itself is found by Python's collector alone, which looks for it seldom, and stops
the service meanwhile: for 0.2 s with a thousand replies, when each request left its parts to it.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from serving import serving
from upstreams import upstream_running
from wire import Api, script, slow

SERVICE = ("rejoinder", "uvicorn", "uvloop", "httptools", "starlette", "fastapi")
NOT_ITS_OWN = ("rejoinder.testing", "rejoinder.client")
"""They run in this process as well."""

TIMES = 5


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    store = f"sqlite:///{tmp_path_factory.mktemp('store')}/chat.db"
    with (
        upstream_running() as upstream,
        serving(model="openai:echo", openai_base_url=upstream.base_url, store=store) as server,
    ):
        yield server.api


def streamed(api: Api) -> None:
    with api.send_streamed(api.session(), script("tokens=10 pace=0.001")) as stream:
        stream.rest()


def left_in_the_middle(api: Api) -> None:
    sid = api.session()
    with api.send_streamed(sid, script("tokens=20 pace=0.005")) as stream:
        reply = stream.until("message.delta").message_id
    assert reply is not None
    api.ended(sid, reply)


def stopped(api: Api) -> None:
    sid = api.session()
    api.stop(sid, api.send_async(sid, slow())["reply"]["id"])


def whole(api: Api) -> None:
    sid = api.session()
    api.send_whole(sid, "hello")
    assert len(api.all_messages(sid)) == 2


def refused(api: Api) -> None:
    assert api.get(f"/sessions/ses_{'0' * 32}").status_code == 404
    assert api.post(f"/sessions/{api.session()}/messages", json={"content": 5}).status_code == 422
    assert api.get("/nowhere").status_code == 404


def listed(api: Api) -> None:
    for path in ("/sessions", "/search?q=hello", "///", "//healthz", "//metrics"):
        assert api.get(path).status_code == 200


@pytest.mark.parametrize("asks", [streamed, left_in_the_middle, stopped, whole, refused, listed])
def test_nothing_is_left_to_the_collector(api: Api, asks: Callable[[Api], None]) -> None:
    asks(api)  # what only the first one does
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(TIMES):
            asks(api)
        gc.collect()
    finally:
        gc.set_debug(0)
        found = Counter(map(_kind, gc.garbage))
        gc.garbage.clear()
    left = {kind: times for kind, times in found.items() if kind.startswith(SERVICE) and times > 1}
    assert not {kind for kind in left if not kind.startswith(NOT_ITS_OWN)}, left


def _kind(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
