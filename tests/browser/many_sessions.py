"""Thousands of sessions, written straight into a store: by HTTP they would take a minute."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rejoinder.abc import ABSENT, Append, NewRow
from rejoinder.api.dependencies import OWNER
from rejoinder.chat.texts import with_texts
from rejoinder.entities import Header, Key, Message, Session
from rejoinder.events import MessageCreated, SessionCreated, draft
from rejoinder.stores.sqlite.store import SqliteStore


def fill(path: Path, number: int) -> None:
    """Makes a store of so many sessions, `chat 0` the newest. Of two one has a title, and one is called as it begins."""
    with ThreadPoolExecutor(1) as thread:  # Playwright's loop runs in this one
        thread.submit(asyncio.run, _fill(path, number)).result()


async def _fill(path: Path, number: int) -> None:
    async with SqliteStore(path) as store:
        lease = await store.acquire_lease("many", 60)
        await store.append(lease, 1, [await with_texts(append) for append in _appends(number)])
        await store.release_lease(lease)


def _appends(number: int) -> Iterator[Append]:
    now = datetime.now(UTC)
    for place in range(number):
        time = (now - timedelta(hours=place)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        sid, mid = f"ses_{place:032x}", f"msg_{place:032x}"
        name = f"chat {place}"
        title = name if place % 2 else None
        session = Session(id=sid, title=title, head=mid, created_at=time, updated_at=time)
        said = Message(id=mid, session_id=sid, role="user", content=name, created_at=time)
        yield Append(
            key=Key(OWNER, sid),
            drafts=(draft(SessionCreated(session=session)), draft(MessageCreated(message=said))),
            expect=ABSENT,
            header=Header(session=session, version=1),
            created=(NewRow(id=mid, parent_id=None, lane=mid, depth=0, at=1, ended=True),),
        )
