"""Cut anywhere, resume from any cursor: the same text, whatever happened meanwhile, in memory and on SQLite.

Properties over real HTTP. `test_http_streams` has single cases, `test_http_history_follows` readers whose line holds.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rejoinder.entities import Message
from rejoinder.fold import History, fold
from rejoinder.llm.scripted_answer import full_text
from serving import serving
from strict_sse import Frame, text_of
from test_http_history_follows import events, snapshot
from wire import Api, Json, events_of, script

PARTS = (("content", None), ("reasoning", None), ("tool_call", 0), ("tool_call", 1))
WAYS = ("Last-Event-ID", "?after=")


@pytest.fixture(scope="module", params=["shared", "sqlite"])
def stored(request: pytest.FixtureRequest, base_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The server that all tests share, which keeps its words in memory (or is one by URL), and one on SQLite."""
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("resumption")
        with serving(store=f"sqlite:///{folder}/chat.db") as server:
            yield server.api
    else:
        api = Api(base_url)
        yield api
        api.close()


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> Callable[[int], settings]:
    """How many examples of a property are tried; four times as many in the full run."""

    def tried(usual: int) -> settings:
        times = 4 if request.config.getoption("--full") else 1
        return settings(max_examples=usual * times, deadline=None, suppress_health_check=[HealthCheck.too_slow])

    return tried


# --- what a reader has -------------------------------------------------------------------------------------------


def resumed(way: str, cursor: int | None) -> Json:
    """How a request names its cursor."""
    if cursor is None:
        return {}
    return {"headers": {"last-event-id": str(cursor)}} if way == "Last-Event-ID" else {"params": {"after": cursor}}


def texts_of(frames: list[Frame], mid: str) -> list[str]:
    """The text of every part, each offset checked."""
    return [text_of(frames, mid, part=part, index=index) for part, index in PARTS]


def texts_in(message: Json) -> list[str]:
    first, second, *_ = [*(call["function"]["arguments"] for call in message["tool_calls"]), "", ""]
    return [message["content"], message["reasoning"], first, second]


def had_by(frames: list[Frame], cursor: int) -> list[Frame]:
    """What a reader of all of it has at this cursor, which may lie inside what he was given as one frame."""
    return [frame for frame in frames if frame.seq <= cursor]


def ends_as_told(frames: list[Frame], mid: str) -> Json:
    """One end, last, which says the text that came before it."""
    assert [frame.seq for frame in frames] == sorted({frame.seq for frame in frames})
    assert [place for place, frame in enumerate(frames) if frame.type == "message.ended"] == [len(frames) - 1]
    reply: Json = frames[-1].data["message"]
    assert reply["id"] == mid and texts_of(frames, mid) == texts_in(reply)
    return reply


# --- one reply ---------------------------------------------------------------------------------------------------

shapes = st.builds(
    "tokens={} reasoning={} calls={} burst={} pace={}".format,
    st.integers(0, 25),
    st.integers(0, 6),
    st.integers(0, 2),
    st.sampled_from([1, 1, 3, 100]),
    st.sampled_from([0, 0.002, 0.004]),
)
ends = st.one_of(st.just(""), st.builds(" fail={}@{}".format, st.sampled_from(["error", "reset"]), st.integers(0, 20)))
replies = st.builds("{}{}".format, shapes, ends)
cuts = st.lists(st.tuples(st.integers(0, 8), st.sampled_from(WAYS)), max_size=12)


def read_with_cuts(api: Api, path: str, cuts: list[tuple[int, str]], frames: list[Frame]) -> None:
    """Reads to the end over one connection more than there are cuts, each cut after so many frames at the earliest."""
    for wanted, way in [*cuts, (10**9, WAYS[0])]:
        with api.stream("GET", path, **resumed(way, frames[-1].seq if frames else None)) as stream:
            more = True
            while more and len(stream.frames) < wanted:
                more = stream.read()
            frames += stream.frames
        if frames and frames[-1].type == "message.ended":
            return


def test_a_line_that_is_cut_anywhere_while_a_reply_is_written_loses_no_text(
    stored: Api, examples: Callable[[int], settings]
) -> None:
    """Beside another reply in the same session, so that the seqs of this one have gaps."""

    @examples(25)
    @given(replies, cuts)
    def try_it(words: str, cuts: list[tuple[int, str]]) -> None:
        sid = stored.session()
        beside = stored.send_async(sid, script("tokens=30 pace=0.002"))["reply"]["id"]
        mid = stored.send_async(sid, script(words, "hi"), parent_id=None)["reply"]["id"]
        frames: list[Frame] = []
        read_with_cuts(stored, events_of(sid, mid), cuts, frames)
        with stored.follow(sid, mid) as stream:
            whole = stream.rest()
        assert ends_as_told(frames, mid) == ends_as_told(whole, mid)
        assert stored.message(sid, mid) == frames[-1].data["message"] | {"siblings": []}
        stored.ended(sid, beside)

    try_it()


def test_from_every_cursor_of_an_ended_reply_the_rest_gives_the_same_text(
    stored: Api, examples: Callable[[int], settings]
) -> None:
    """Every number is a cursor, also one that no frame of this reply carried: those of the reply beside it."""

    @examples(10)
    @given(replies)
    def try_it(words: str) -> None:
        sid = stored.session()
        beside = stored.send_async(sid, script("tokens=15 pace=0.002"))["reply"]["id"]
        mid = stored.send_async(sid, script(words, "hi"), parent_id=None)["reply"]["id"]
        with stored.follow(sid, mid) as stream:
            whole = stream.rest()
        reply = ends_as_told(whole, mid)
        stored.ended(sid, beside)
        for cursor in range(stored.last_seq(sid) + 1):
            for way in WAYS:
                if cursor >= whole[-1].seq:
                    assert stored.get(events_of(sid, mid), **resumed(way, cursor)).status_code == 204
                    continue
                with stored.stream("GET", events_of(sid, mid), **resumed(way, cursor)) as stream:
                    more = stream.rest()
                assert more[0].seq > cursor
                assert ends_as_told([*had_by(whole, cursor), *more], mid) == reply

    try_it()


def test_from_every_cursor_of_a_live_reply_the_rest_gives_the_same_text(
    stored: Api, examples: Callable[[int], settings]
) -> None:
    """The reply stands still in the middle, so that every cursor is tried while it lives; some readers stay to its end."""

    @examples(10)
    @given(st.integers(0, 5), st.integers(1, 20), st.sampled_from([1, 4]))
    def try_it(reasoning: int, said: int, burst: int) -> None:
        words = f"reasoning={reasoning} tokens=40 burst={burst} pace=0.002 fail=stall@{reasoning + said}"
        sid = stored.session()
        mid = stored.send_async(sid, script(words))["reply"]["id"]
        with stored.follow(sid, mid) as stream:
            stream.until(lambda _: text_of(stream.frames, mid) == full_text(f"tokens={said}"))
            had = list(stream.frames)
            for cursor in range(had[-1].seq):
                for way in WAYS:
                    with stored.stream("GET", events_of(sid, mid), **resumed(way, cursor)) as again:
                        again.until(lambda frame: frame.seq == had[-1].seq)
                        assert texts_of([*had_by(had, cursor), *again.frames], mid) == texts_of(had, mid)
            with stored.follow(sid, mid, after=had[-1].seq) as late, stored.follow(sid, mid, after=had[0].seq) as early:
                assert stored.stop(sid, mid)["status"] == "stopped"
                reply = ends_as_told(stream.rest(), mid)
                assert ends_as_told([*had, *late.rest()], mid) == reply
                assert ends_as_told([had[0], *early.rest()], mid) == reply

    try_it()


# --- a whole session ---------------------------------------------------------------------------------------------

acts = st.lists(
    st.one_of(
        st.tuples(st.just("send"), replies | st.sampled_from(["hang", "tokens=9 fail=stall@4"]), st.integers(0, 9)),
        st.tuples(st.just("stop"), st.integers(0, 9)),
        st.tuples(st.just("rename"), st.text("aé🏮", max_size=4)),
        st.tuples(st.just("move"), st.integers(0, 9)),
        st.tuples(st.just("read"), st.integers(1, 12), st.sampled_from(WAYS)),
        st.tuples(st.just("fetch"), st.sampled_from([1, 3, 1000])),
    ),
    min_size=4,
    max_size=20,
)


class Visitor:
    """One front-end: it acts, fetches histories, and reads the session with a line that is cut again and again."""

    def __init__(self, api: Api) -> None:
        self.api, self.sid = api, api.session()
        self.frames: list[Frame] = []
        self.fetched: list[History] = [snapshot(api, self.sid, 1000)]
        self._messages: list[str] = []
        self._replies: list[str] = []

    def send(self, words: str, place: int) -> None:
        """Under a message of before, or at the root. Where a reply above it is still being written, nothing is sent."""
        parent = ([None, *self._messages])[place % (len(self._messages) + 1)]
        body = {"content": script(words, "hi"), "parent_id": parent}
        answer = self.api.post(f"/sessions/{self.sid}/messages", json=body, headers={"prefer": "respond-async"})
        assert answer.status_code in (202, 409), answer.text
        if answer.status_code == 202:
            self._messages += [answer.json()["message"]["id"], answer.json()["reply"]["id"]]
            self._replies.append(answer.json()["reply"]["id"])

    def stop(self, place: int) -> None:
        if self._replies:
            self.api.stop(self.sid, self._replies[place % len(self._replies)])

    def rename(self, title: str) -> None:
        self._change(title=title)

    def move(self, place: int) -> None:
        if self._messages:
            self._change(head=self._messages[place % len(self._messages)])

    def read(self, wanted: int, way: str) -> None:
        """Over a connection of its own, until so many frames more have come, or all that there are."""
        last, cursor = self.api.last_seq(self.sid), self.frames[-1].seq if self.frames else None
        with self.api.stream("GET", f"/sessions/{self.sid}/events", **resumed(way, cursor)) as stream:
            while len(stream.frames) < wanted and (cursor or 0) < last:
                assert stream.read()
                cursor = stream.frames[-1].seq if stream.frames else cursor
            self.frames += stream.frames

    def fetch(self, size: int) -> None:
        self.fetched.append(snapshot(self.api, self.sid, size))

    def end(self) -> None:
        for mid in self._replies:
            self.api.stop(self.sid, mid)
        self.fetch(1000)
        while not self.frames or self.frames[-1].seq < self.fetched[-1].as_of:
            self.read(10**9, WAYS[0])

    def _change(self, **body: Any) -> None:
        assert self.api.ask("PATCH", f"/sessions/{self.sid}", json=body).status_code == 200


def test_the_events_behind_any_history_give_every_later_one(stored: Api, examples: Callable[[int], settings]) -> None:
    @examples(40)
    @given(acts)
    def try_it(acts: list[tuple[Any, ...]]) -> None:
        visitor = Visitor(stored)
        for name, *arguments in acts:
            getattr(visitor, name)(*arguments)
        visitor.end()
        log = events(visitor.frames, visitor.fetched[-1].as_of)
        assert fold(log) == visitor.fetched[-1]
        for number, earlier in enumerate(visitor.fetched):
            for later in visitor.fetched[number:]:
                assert fold([event for event in log if event.seq <= later.as_of], earlier) == later
        for event in log:
            # Also at cursors at which nobody fetched: the history of then is still to be had.
            then = snapshot_of_messages(visitor, event.seq)
            assert fold([other for other in log if other.seq <= event.seq]).messages == then

    try_it()


def snapshot_of_messages(visitor: Visitor, as_of: int) -> dict[str, Message]:
    page = visitor.api.history(visitor.sid, branch="all", as_of=as_of)
    assert (page["as_of"], page["has_more"]) == (as_of, False)
    return {message["id"]: msgspec.convert(message, Message) for message in page["data"]}
