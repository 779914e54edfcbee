"""People who chat: they send with ids of their own, and ask again after every broken line until they are answered."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx2

from wire import ENDS, Json, message_id, script, session_id
from witnesses import BROKEN, PAUSE, STUCK, Busy, Reader, SessionReader, Witnessed

T = TypeVar("T")

LIVES = (
    "tokens=1",
    "tokens=20 pace=0.005",
    "tokens=60 reasoning=20 calls=1 pace=0.01",
    "tokens=150 pace=0.01",
    "tokens=4000 burst=100 pace=0.0005",
    "tokens=30 pace=0.005 fail=upstream_error@20",
    "first=0.3 tokens=10",
)
"""What replies do: some end within a few milliseconds, some are still being written at the next kill."""

ENDLESS = ("hang", "tokens=20 pace=0.005 fail=stall@15")
"""Replies that end by a stop or a kill alone."""

TURNS = 6
"""Turns of a branch; then its writer begins another at the root."""
BRANCHES = 2
"""Branches that each writer of a session writes, before the session is over."""
WRITERS = 2


class Town:
    """Everyone who uses the service: some sessions at a time, until it is `closing`."""

    def __init__(self, url: str, witnessed: Witnessed, chance: random.Random) -> None:
        self.witnessed = witnessed
        self.chance = chance
        self.closing = False
        self.rooms: list[Room] = []
        self.written = asyncio.Event()
        """Set whenever a request that sends a message has left for the server, and has not been answered."""
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=50)
        self.http = httpx2.AsyncClient(base_url=url, timeout=STUCK, trust_env=False, limits=limits)

    async def live(self) -> None:
        """One session after another."""
        while not self.closing:
            room = Room(self)
            self.rooms.append(room)
            await room.live()

    async def answered(self, method: str, path: str, **request: object) -> httpx2.Response:
        """The answer to a request that is made again until there is one."""

        async def ask() -> httpx2.Response:
            return answer_to(await self.http.request(method, path, **request))  # type: ignore[arg-type]

        return await self.until_answered(ask)

    async def until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except (*BROKEN, Busy):
                self.witnessed.again += 1
                await asyncio.sleep(PAUSE)

    async def on_trace(self, step: str, _: object) -> None:
        if step == "http11.send_request_body.complete":
            self.written.set()


class Room:
    """A session: two who write, each on branches of their own, someone who reads all of it, and readers of each reply."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.sid = session_id()
        self.begun = self.over = False
        self.read: list[int] = []
        """The seqs that the reader of the whole session saw."""

    async def live(self) -> None:
        made = await self.town.answered("POST", "/v1/sessions", json={"id": self.sid})
        assert made.status_code == 201
        self.begun = True
        reader = SessionReader(self.town.http, self.town.witnessed, self.sid)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(reader.follow_to_the_end(self.town.chance))
            async with asyncio.TaskGroup() as writing:
                for _ in range(WRITERS):
                    writing.create_task(Writer(self, group).write())
            await self.rename(SessionReader.OVER)
        self.read, self.over = reading.result(), True

    async def rename(self, title: str) -> None:
        await self.town.answered("PATCH", f"/v1/sessions/{self.sid}", json={"title": title})
        self.town.witnessed.titles[self.sid].append(title)


class Writer:
    def __init__(self, room: Room, readers: asyncio.TaskGroup) -> None:
        self._room, self._readers = room, readers
        self._town, self._sid = room.town, room.sid
        self._chance, self._witnessed = room.town.chance, room.town.witnessed
        self._parent: str | None = None

    async def write(self) -> None:
        for turn in range(TURNS * BRANCHES):
            if self._town.closing:
                return
            if turn % TURNS == 0:
                self._parent = None
            await self._turn()
            if self._chance.random() < 0.2:
                await self._room.rename(f"title {self._chance.random()}")

    async def _turn(self) -> None:
        endless = self._chance.random() < 0.15
        words = self._chance.choice(ENDLESS if endless else LIVES)
        mid = message_id()
        self._witnessed.sent[self._sid, mid] = words
        # The id stands in the text, so that what is asked upstream tells whose prompt it is.
        body = {"id": mid, "content": script(words, mid), "parent_id": self._parent}
        form = self._send_later if endless else self._chance.choice((self._send, self._send_whole, self._send_later))
        clicks = [form(mid, body)]
        if self._chance.random() < 0.2:  # a double click, or another device that syncs
            clicks.append(self._send_later(mid, body))
        reply, *_ = await asyncio.gather(*clicks)
        if endless or self._chance.random() < 0.1:
            await self._stop(reply)
        await self._read(reply)
        self._parent = reply

    # the three forms of sending

    async def _send(self, mid: str, body: Json) -> str:
        """Reads the reply in the answer. A retry takes up the stream at the cursor, or anew."""
        reader = self._reader()

        async def ask() -> str:
            nonlocal reader
            if self._chance.random() < 0.3:
                reader = self._reader()
            headers = {"accept": "text/event-stream"}
            if reader.cursor is not None:
                headers["last-event-id"] = str(reader.cursor)
            extensions = {"trace": self._town.on_trace}
            async with self._town.http.stream(
                "POST", self._path, json=body, headers=headers, extensions=extensions
            ) as got:
                if got.status_code != 200:
                    await got.aread()
                answer_to(got)
                self._acknowledge(mid, reply := got.headers["content-location"].rpartition("/")[2])
                await reader.read(got)
                return str(reply)

        reply = await self._town.until_answered(ask)
        reader.check_reply(reply)
        return reply

    async def _send_whole(self, mid: str, body: Json) -> str:
        turn = (await self._post(body, {"accept": "application/json"}, 200)).json()
        self._acknowledge(mid, turn["reply"]["id"])
        assert turn["reply"]["status"] in ENDS
        return str(turn["reply"]["id"])

    async def _send_later(self, mid: str, body: Json) -> str:
        turn = (await self._post(body, {"prefer": "respond-async"}, 202)).json()
        self._acknowledge(mid, turn["reply"]["id"])
        return str(turn["reply"]["id"])

    async def _post(self, body: Json, headers: dict[str, str], status: int) -> httpx2.Response:
        extensions = {"trace": self._town.on_trace}
        answer = await self._town.answered("POST", self._path, json=body, headers=headers, extensions=extensions)
        assert answer.status_code == status
        return answer

    # what comes after it

    def _acknowledge(self, mid: str, reply: str) -> None:
        """From now on this turn cannot be lost. Someone else reads it too, now or later."""
        first = (self._sid, mid) not in self._witnessed.acknowledged
        self._witnessed.acknowledge(self._sid, mid, reply)
        if first:
            self._readers.create_task(self._read(reply, late=self._chance.choice((0, 0.01, 0.2, 1))))

    async def _read(self, reply: str, late: float = 0) -> None:
        await asyncio.sleep(late)
        reader = self._reader()
        await reader.follow(f"{self._path}/{reply}/events", self._chance)
        reader.check_reply(reply)

    async def _stop(self, reply: str) -> None:
        await asyncio.sleep(self._chance.uniform(0, 0.3))
        answer = await self._town.answered("POST", f"{self._path}/{reply}/stop")
        assert answer.status_code == 200 and answer.json()["status"] in ENDS
        self._witnessed.stopped.add((self._sid, reply))

    def _reader(self) -> Reader:
        return Reader(self._town.http, self._witnessed, self._sid)

    @property
    def _path(self) -> str:
        return f"/v1/sessions/{self._sid}/messages"


def answer_to(answer: httpx2.Response) -> httpx2.Response:
    """What it is, unless it is to come again."""
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) > 0
        raise Busy
    assert answer.is_success, (answer.status_code, answer.text)
    return answer
