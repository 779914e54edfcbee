"""Kills a server again and again while people chat, and holds it to its promises after each restart."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from typing import Any

import httpx2

import promises
from people import Room, Town
from processes import Server
from promises import Kept, Known
from strict_sse import StrictReader
from wire import Json, message_id, script

CLEAN = (0, -signal.SIGTERM)
"""Exit codes of an orderly end: uvicorn raises the signal again when all is done."""

ROOMS = 3
OFF_WORK = 30.0
"""Seconds in which everyone must have come to an end once the server is left in peace."""


class Crashes:
    def __init__(self, server: Server, town: Town, chance: random.Random) -> None:
        self._server, self._town, self._chance = server, town, chance
        self._witnessed = town.witnessed
        self.kills: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.checks = 0

    async def run(self, kills: int) -> list[Kept]:
        """What the service keeps of each session in the end."""
        await self._server.start()
        async with asyncio.TaskGroup() as group:
            chats = [group.create_task(self._town.live()) for _ in range(ROOMS)]
            while self._killed < kills:
                await self._bring_down()
                while self._killed < kills and self._chance.random() < 0.3:
                    await self._kill_at_the_start()
                before = self._replies()
                await self._server.start()
                if not self.checks or self._chance.random() < 0.8:
                    await self._check_rooms(before)
            self._town.closing = True
            _, late = await asyncio.wait(chats, timeout=OFF_WORK)
            assert not late, "someone is stuck"
        return await self._check_the_end()

    # the end of a server

    @property
    def _killed(self) -> int:
        return self.kills.total() - self.kills["SIGTERM"]

    async def _bring_down(self) -> None:
        ways = (self._kill_while_it_serves, self._kill_at_a_request, self._terminate, self._kill_while_it_drains)
        await self._chance.choices(ways, (4, 4, 1, 1))[0]()

    async def _kill_while_it_serves(self) -> None:
        await asyncio.sleep(self._chance.choice((0.1, 0.7)) * self._chance.random())
        await self._kill("at any moment")

    async def _kill_at_a_request(self) -> None:
        """When a message has been written to it, and before it is answered, or just then."""
        self._town.written.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._town.written.wait(), timeout=1)
        await asyncio.sleep(self._chance.choice((0, 0.006)) * self._chance.random())
        await self._kill("behind a request")

    async def _kill_at_the_start(self) -> None:
        self._server.spawn()
        if self._chance.random() < 0.3:
            await asyncio.sleep(self._chance.uniform(0, 0.8 * max(self._server.starts[-3:])))
            await self._kill("in its start")
        else:
            await self._server.holding()
            await asyncio.sleep(self._chance.uniform(0, 1.2 * max(self._server.recoveries[-3:])))
            await self._kill("in its recovery")

    async def _kill_while_it_drains(self) -> None:
        self._server.signal(signal.SIGTERM)
        await asyncio.sleep(self._chance.uniform(0, 0.4))
        self._server.signal(signal.SIGKILL)
        # It may have come to its orderly end before, or just now.
        code = await self._server.ended()
        assert code in (*CLEAN, -signal.SIGKILL), self._server.said()
        self.kills["SIGTERM" if code in CLEAN else "in its drain"] += 1

    async def _terminate(self) -> None:
        """All that was live ends in order, so that the next server finds nothing to recover."""
        await asyncio.sleep(self._chance.uniform(0, 0.5))
        self._server.signal(signal.SIGTERM)
        assert await self._server.ended() in CLEAN, self._server.said()
        self.kills["SIGTERM"] += 1
        before = self._replies()
        await self._server.start()
        assert "a worker that is gone" not in self._server.said(), "SIGTERM left a reply without its end"
        await self._check_rooms(before)
        await self._kill_while_it_serves()

    async def _kill(self, when: str) -> None:
        await self._server.kill()
        self.kills[when] += 1

    # what is left

    def _replies(self) -> set[str]:
        """Every reply that anyone knows of."""
        return {*self._witnessed.begun, *self._witnessed.acknowledged.values()}

    async def _check_rooms(self, before: set[str]) -> None:
        for room in self._town.rooms:
            if room.begun and not room.over:
                known = Known.of(self._witnessed, room.sid)
                deadline = time.monotonic() + self._server.patience
                kept = await self._kept(room)
                while time.monotonic() < deadline and promises.stuck(kept, before):
                    kept = await self._kept(room)
                self._check(kept, known)
                assert not promises.stuck(kept, before), "a reply of a dead server is still being written"
        self.checks += 1

    def _check(self, kept: Kept, known: Known) -> None:
        sent = self._witnessed.sent
        promises.nothing_acknowledged_is_lost(kept, known)
        promises.nothing_is_doubled(kept, sent)
        promises.nothing_seen_is_missing(kept, known)
        promises.the_log_has_no_gap_and_folds_to_the_history(kept)
        promises.every_reply_ends_once(kept)
        promises.every_end_keeps_the_whole_text(kept, sent)
        promises.every_end_says_how_it_came(kept, known, sent)

    async def _check_the_end(self) -> list[Kept]:
        found: list[Kept] = []
        for room in self._town.rooms:
            kept = await self._kept(room)
            self._check(kept, Known.of(self._witnessed, room.sid))
            assert not promises.stuck(kept), "a reply of a dead server is still being written"
            promises.who_read_all_of_it_missed_nothing(kept, room.read)
            self.statuses.update(reply["status"] for reply in kept.replies)
            await self._takes_the_next_message(kept)
            found.append(await self._kept(room))
        return found

    async def _takes_the_next_message(self, kept: Kept) -> None:
        mid = message_id()
        body = {"id": mid, "content": script("tokens=3", mid)}
        headers = {"accept": "application/json"}
        answer = await self._town.http.post(f"/v1/sessions/{kept.sid}/messages", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        turn = answer.json()
        assert (turn["message"]["parent_id"], turn["reply"]["status"]) == (kept.session["head"], "completed")

    async def _kept(self, room: Room) -> Kept:
        session = await self._get(f"/v1/sessions/{room.sid}")
        last = session["last_seq"]
        page = await self._get(f"/v1/sessions/{room.sid}/messages", branch="all", as_of=last)
        assert (page["as_of"], page["has_more"]) == (last, False)
        reader = StrictReader()
        async with self._town.http.stream("GET", f"/v1/sessions/{room.sid}/events") as response:
            async for data in response.aiter_raw():
                if any(frame.seq >= last for frame in reader.feed(data)):
                    break
        log = [frame for frame in reader.frames if frame.seq <= last]
        return Kept(session, page["data"], log, self._witnessed.compacts)

    async def _get(self, path: str, **params: Any) -> Json:
        answer: httpx2.Response = await self._town.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found
