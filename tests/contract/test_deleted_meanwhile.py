"""A session that is deleted while somebody asks for something in it: it is not found, whichever read of the store comes after."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from rejoinder.entities import Key
from rejoinder.stores.memory import MemoryStore
from serving import serving
from wire import Api, script

READS = ("header", "rows", "children", "branch", "events", "events_at", "created")

STUCK = script("tokens=9 stall@3")

BESIDE_A_LIVE_REPLY = ("a send that waits", "a send that interrupts", "another reply")

REQUESTS = {
    "the session": ("GET", "", None),
    "a page": ("GET", "/messages", None),
    "a page of a branch as it was": ("GET", "/messages?branch={reply}&as_of=3", None),
    "a page of all": ("GET", "/messages?branch=all", None),
    "a message": ("GET", "/messages/{reply}", None),
    "the prompt": ("GET", "/messages/{reply}/prompt", None),
    "the usage": ("GET", "/usage", None),
    "a send": ("POST", "/messages", {"content": "and on"}),
    "a send that waits": ("POST", "/messages", {"content": "and on", "if_busy": "queue"}),
    "a send that interrupts": ("POST", "/messages", {"content": "and on", "if_busy": "interrupt"}),
    "an edit": ("POST", "/messages", {"content": "and on", "parent_id": None}),
    "another reply": ("POST", "/messages/{message}/replies", {"if_busy": "queue"}),
    "going on": ("POST", "/messages/{stuck}/continue", {}),
    "a stop": ("POST", "/messages/{stuck}/stop", {}),
    "a fork": ("POST", "/fork", {"at": "{reply}"}),
    "a change": ("PATCH", "", {"head": "{reply}"}),
    "a deletion": ("DELETE", "", None),
}


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving(prefill=["scripted"]) as server:
        yield server.api


class Deleting:
    """Deletes a session right before the store is asked about it for the nth time in this way."""

    def __init__(self) -> None:
        self.read, self.nth = "", 0
        self.asked = Counter[str]()

    def at(self, read: str, nth: int) -> None:
        self.read, self.nth = read, nth
        self.asked.clear()

    async def before(self, store: MemoryStore, read: str, key: Key) -> None:
        self.asked[read] += 1
        if read == self.read and self.asked[read] == self.nth:
            self.read = ""
            header = await MemoryStore.header(store, key)
            assert header is None or await store.delete(key, header.version)


@pytest.fixture
def deleting(monkeypatch: pytest.MonkeyPatch) -> Deleting:
    deleting = Deleting()

    def watched(name: str) -> Any:
        method = getattr(MemoryStore, name)

        async def read(self: MemoryStore, key: Key, *args: Any, **named: Any) -> Any:
            await deleting.before(self, name, key)
            return await method(self, key, *args, **named)

        return read

    for name in READS:
        monkeypatch.setattr(MemoryStore, name, watched(name))
    return deleting


@pytest.mark.parametrize("asked", REQUESTS)
def test_what_is_deleted_meanwhile_is_not_found(api: Api, deleting: Deleting, asked: str) -> None:
    method, path, body = REQUESTS[asked]
    for read in READS:
        for nth in (1, 2, 3):
            sid = api.session()
            turn = api.send_whole(sid, "one")
            names = {"message": turn["message"]["id"], "reply": turn["reply"]["id"]}
            names["stuck"] = api.send_async(sid, STUCK)["reply"]["id"]
            if asked not in BESIDE_A_LIVE_REPLY:
                api.stop(sid, names["stuck"])
            said = body and {name: value and str(value).format(**names) for name, value in body.items()}
            deleting.at(read, nth)
            answer = api.ask(
                method, f"/sessions/{sid}{path.format(**names)}", json=said, headers={"prefer": "respond-async"}
            )
            happened = deleting.read == ""
            deleting.at("", 0)
            assert answer.status_code in ((200, 201, 202, 204, 404) if happened else (200, 201, 202, 204)), (read, nth)
            if not happened:
                break


def test_a_session_whose_predecessor_is_deleted_meanwhile_is_made(api: Api, deleting: Deleting) -> None:
    source = api.session()
    at = api.send_whole(source, "one")["message"]["id"]
    for path, said in (("/sessions", {}), (f"/sessions/{source}/fork", {"at": at})):
        sid = api.session(title="before")
        deleting.at("events", 1)
        made = api.post(path, json={"id": sid, **said})
        assert deleting.read == "" and made.status_code == 201, made.text
        assert api.read_session(sid)["title"] is None
