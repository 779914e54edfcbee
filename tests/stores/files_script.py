"""Some life of a few sessions in steps, each acknowledged or not, and what memory comes to after each of them."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from pens import KEY, OTHER, Pen, change, create, delta, log, row, said
from rejoinder.abc import Append, EndedRow, Store, Text
from rejoinder.entities import Key
from rejoinder.stores import open_store

MINE = Key("../Ann", "ses_3")
KEYS = (KEY, OTHER, MINE)
LATER = "2026-11-24T13:00:00.000Z"

Step: TypeAlias = tuple[Append, ...] | Callable[[Store], Awaitable[object]]


def begins(key: Key, message_id: str) -> Append:
    return Append(key=key, drafts=(said("", message_id, "message.created"),), created=(row(message_id, ended=False),))


def ends(key: Key, message_id: str) -> Append:
    return Append(
        key=key,
        drafts=(said("whole", message_id, "message.ended"),),
        ended=(EndedRow(id=message_id, at=0, ended_at=LATER),),
        texts=(Text(message_id=message_id, words=f"whole {message_id}", at=LATER),),
    )


async def compact(store: Store) -> None:
    await store.compact(KEY, ["msg_1"], ["message.delta"])


async def delete(store: Store) -> None:
    await store.delete(OTHER, 2)


SCRIPT: list[Step] = [
    (create(KEY), create(OTHER), create(MINE, title="mine")),
    (begins(KEY, "msg_1"), begins(OTHER, "msg_1"), delta("a")),
    (delta("b" * 3_000), delta("c", OTHER), change(MINE, 1, title="mine still")),
    (ends(KEY, "msg_1"), delta("d", OTHER)),
    compact,
    (delta("e", message_id="msg_2"), change(OTHER, 1, updated_at=LATER), begins(KEY, "msg_3")),
    delete,
    (create(OTHER), delta("f", message_id="msg_2"), begins(OTHER, "msg_9")),
    (ends(OTHER, "msg_9"), ends(KEY, "msg_3"), delta("g", MINE)),
]


async def take(store: Store, pen: Pen, step: Step) -> None:
    if callable(step):
        await step(store)
    else:
        await pen.made(*[await store.stage(pen.lease, append) for append in step])


async def play(url: str, told: Path) -> None:
    """The whole script; a byte is added to a file for each step that was acknowledged."""
    async with open_store(url) as store:
        pen = await Pen.of(store)
        with told.open("ab", buffering=0) as acknowledged:
            for step in SCRIPT:
                await take(store, pen, step)
                acknowledged.write(b".")


async def as_told() -> list[object]:
    """What a store in memory shows before the first step and after each."""
    async with open_store("memory:") as store:
        pen = await Pen.of(store)
        shown = [await snapshot(store)]
        for step in SCRIPT:
            await take(store, pen, step)
            shown.append(await snapshot(store))
        return shown


async def snapshot(store: Store) -> object:
    """All that can be read."""
    return [
        [await store.header(key) for key in KEYS],
        [await log(store, key) for key in KEYS],
        [await store.created(key, after=0, before=1 << 60, limit=100) for key in KEYS],
        [await store.sessions(key.owner, after=None, limit=100) for key in KEYS],
        await store.keys(after=None, limit=100),
        await store.idle("9999", 100),
        sorted(await store.ripe("9999", 100)),
        sorted(await store.search("ann", ["whole"], limit=100), key=lambda found: found.message_id),
    ]
