"""A history and the events behind its `as_of` give the history that is fetched later, whatever happens in between."""

import random
import threading
from typing import Any

import httpx2
import msgspec
import pytest

from rejoinder.entities import Message, Session
from rejoinder.events import Event
from rejoinder.fold import History, fold
from strict_sse import Frame
from wire import Api, Json, script, slow


def snapshot(api: Api, sid: str, size: int) -> History:
    """A session and all its messages at one seq, fetched in pages."""
    session = api.read_session(sid)
    found: list[Json] = []
    params: Json = {"branch": "all", "limit": size, "as_of": session["last_seq"]}
    for _ in range(1_000):
        page = api.history(sid, **params)
        assert page["as_of"] == session["last_seq"]
        found += page["data"]
        if not page["has_more"]:
            break
        params["after"] = found[-1]["id"]
    messages = {message["id"]: msgspec.convert(message, Message) for message in found}
    return History(session=msgspec.convert(session, Session), messages=messages, as_of=session["last_seq"])


def events(frames: list[Frame], until: int) -> list[Event]:
    return [
        Event(frame.seq, frame.type, frame.message_id, msgspec.json.encode(frame.data))
        for frame in frames
        if frame.seq <= until
    ]


def merged(events: list[Event], chance: random.Random) -> list[Event]:
    """The same, where some neighbours of one message, part and index have become one under the last one's seq."""
    found: list[Event] = []
    for event in events:
        if found and event.type == found[-1].type == "message.delta" and chance.random() < 0.5:
            before: Json = msgspec.json.decode(found[-1].data)
            said: Json = msgspec.json.decode(event.data)
            if all(before.get(name) == said.get(name) for name in ("message_id", "part", "index")) and "id" not in said:
                both = before | {"text": before["text"] + said["text"], "seq": event.seq}
                found[-1] = Event(event.seq, event.type, event.message_id, msgspec.json.encode(both))
                continue
        found.append(event)
    return found


class Chat:
    """Someone who sends, branches, stops and renames at random."""

    def __init__(self, api: Api, sid: str, seed: int) -> None:
        self._api, self._sid, self._chance = api, sid, random.Random(seed)
        self._known: list[str | None] = [None]
        self._replies: list[str] = []

    def act(self) -> None:
        doing = self._chance.choices((self.send, self.stop, self.rename, self.move), (6, 3, 1, 1))[0]
        doing()

    def send(self) -> None:
        words = self._chance.choice(
            (
                f"tokens={self._chance.randint(1, 40)} pace=0.003",
                "tokens=4 reasoning=6 calls=2 pace=0.002",
                "tokens=9 fail=upstream_error@5",
                "fail=upstream_auth",
                "tokens=5000 pace=0.004",
                "hang",
            )
        )
        body = {"content": script(words, "hi"), "parent_id": self._chance.choice(self._known)}
        answer = self._api.post(f"/sessions/{self._sid}/messages", json=body, headers={"prefer": "respond-async"})
        assert answer.status_code in (202, 409), answer.text
        if answer.status_code == 202:
            turn = answer.json()
            self._known += [turn["message"]["id"], turn["reply"]["id"]]
            self._replies.append(turn["reply"]["id"])

    def stop(self) -> None:
        if self._replies:
            self._api.stop(self._sid, self._chance.choice(self._replies))

    def rename(self) -> None:
        self._change(title=f"title {self._chance.random()}", metadata={"n": str(self._chance.random())})

    def move(self) -> None:
        if head := self._chance.choice(self._known):
            self._change(head=head)

    def end(self) -> None:
        for mid in self._replies:
            self._api.stop(self._sid, mid)

    def _change(self, **body: Any) -> None:
        assert self._api.ask("PATCH", f"/sessions/{self._sid}", json=body).status_code == 200


@pytest.mark.parametrize("seed", range(5))
def test_a_history_and_the_events_behind_it_give_the_later_history(api: Api, sid: str, seed: int) -> None:
    frames: list[Frame] = []
    chat, chance = Chat(api, sid, seed), random.Random(-seed)

    def read() -> None:
        with api.follow_session(sid) as stream:
            try:
                stream.until(
                    lambda frame: frame.type == "session.updated" and frame.data["session"]["title"] == "the end"
                )
            finally:
                frames.extend(stream.frames)

    reader = threading.Thread(target=read)
    reader.start()
    snapshots = [snapshot(api, sid, 1000)]
    for _ in range(25):
        chat.act()
        if chance.random() < 0.6:
            snapshots.append(snapshot(api, sid, chance.choice((1, 3, 1000))))
    chat.end()
    api.ask("PATCH", f"/sessions/{sid}", json={"title": "the end"})
    snapshots.append(snapshot(api, sid, 1000))
    reader.join(20)

    log = events(frames, snapshots[-1].as_of)
    assert log[-1].seq == snapshots[-1].as_of, "the reader has read to the end"
    assert fold(log) == snapshots[-1], "and what it read from seq 1 is the history itself"
    for number, earlier in enumerate(snapshots):
        for later in snapshots[number:]:
            between = [event for event in log if earlier.as_of < event.seq <= later.as_of]
            assert fold(between, earlier) == later
            assert fold(merged(between, chance), earlier).messages == later.messages


def test_a_stream_from_as_of_goes_on_in_the_middle_of_a_word(api: Api, sid: str) -> None:
    """What a front-end does: fetch the history while a reply is written, then follow the session from there."""
    mid = api.send_async(sid, slow(80, 0.005))["reply"]["id"]
    before = snapshot(api, sid, 1000)
    for _ in range(1_000):
        if before.messages[mid].content:
            break
        before = snapshot(api, sid, 1000)
    assert before.messages[mid].status == "streaming"
    with api.follow_session(sid, after=before.as_of) as stream:
        ended = stream.until("message.ended").seq
        after = fold(events(stream.frames, ended), before)
    assert after == snapshot(api, sid, 1000)


def test_a_stream_that_was_cut_is_seen_by_its_offsets(api: Api, sid: str) -> None:
    """The proof would fail if an event were missing: drop any delta, and the fold refuses the rest."""
    with api.send_streamed(sid, slow(10, 0.01)) as stream:
        stream.rest()
    with api.follow_session(sid) as whole:
        whole.until("message.ended")
        log = events(whole.frames, 10**9)
    deltas = [event for event in log if event.type == "message.delta"]
    assert len(deltas) > 3
    for missing in deltas[:-1]:
        with pytest.raises(Exception, match="code points"):
            fold(event for event in log if event is not missing)


def test_the_history_needs_no_stream_at_all(api: Api, sid: str) -> None:
    answer: httpx2.Response = api.get(f"/sessions/{sid}/messages")
    assert answer.headers["cache-control"] == "no-store"
