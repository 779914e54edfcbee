"""What a store that has grown costs: searching, a page of history, the list of sessions, and bytes on the disk.

`python -m bench growth` fills stores through their contract and asks what the service asks; the goals stand beside what
was measured.
"""

import argparse
import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from msgspec import Struct

from bench import report
from bench.figures import quantile
from bench.filling import Filling, Prose
from bench.frame import Run, framed
from bench.options import RESULTS
from rejoinder.abc import Append, SessionCursor, Store
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.growth import DROPPED, PIECE
from rejoinder.chat.history import History, Window
from rejoinder.chat.search import Search
from rejoinder.chat.writer import Writer
from rejoinder.signals.local import LocalSignals
from rejoinder.stores import open_store
from rejoinder.words import words_of

T = TypeVar("T")

GOALS = {"search": 50.0, "history": 20.0, "list": 20.0}
"""Milliseconds at the 95th percentile, at the greatest size."""

PAGE = 50
LONG_AFTER = "2999-01-01T00:00:00.000Z"
TURNS = 20
"""Messages and replies of a session, where there are many sessions."""


class Options(Struct, frozen=True, kw_only=True):
    """`history`, `messages` (of the search) and `sessions` are the greatest sizes; those below are measured on the way, ten
    times smaller each.
    """

    history: int = 1_000_000
    messages: int = 100_000
    sessions: int = 1_000_000
    bytes_of: int = 20_000
    asked: int = 200
    store: str | None = None
    json: Path | None = None


QUICK = {"history": 1_000, "messages": 1_000, "sessions": 1_000, "bytes_of": 400, "asked": 20}


class Figure(Struct, frozen=True, kw_only=True):
    """One question at one size. Milliseconds."""

    part: str
    what: str
    rows: int
    asked: int
    p50: float
    p95: float
    most: float


class Bytes(Struct, frozen=True, kw_only=True):
    """On the disk, for one message: a user's or a reply, half of each. `index` is that of the search, None where it cannot be told."""

    messages: int
    text: float
    before: float
    after: float
    index: float | None

    @property
    def goal(self) -> float:
        return 2 * self.text + 1_024

    @property
    def kept(self) -> float:
        return self.after - (self.index or 0)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    return framed("growth", partial(_run, options))


def _run(options: Options, run: Run) -> int:
    report.introduce_machine(run.machine)
    tell(*asyncio.run(measure(options, run.folder)), options, run)
    run.write(options.json)
    return 0


def tell(figures: Sequence[Figure], sizes: Bytes, options: Options, run: Run) -> None:
    # A URL may hold a password.
    store = (options.store or "sqlite").partition(":")[0]
    run.parameters["growth"] = {name: getattr(options, name) for name in QUICK} | {"store": store}
    run.found |= {"goals": GOALS, "figures": figures, "bytes": sizes}
    print(table(figures, sizes), flush=True)


def parsed(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench growth", description=__doc__, allow_abbrev=False)
    parser.add_argument("--history", type=int, help="messages of the long session (default: 1,000,000)")
    parser.add_argument("--messages", type=int, help="of the search (default: 100,000)")
    parser.add_argument("--sessions", type=int, help="of the list (default: 1,000,000)")
    parser.add_argument("--bytes-of", type=int, help="messages of which the bytes are measured (default: 20,000)")
    parser.add_argument("--asked", type=int, help="how often each question is asked (default: 200)")
    parser.add_argument("--store", help="URL of an empty store (default: SQLite files that go afterwards)")
    parser.add_argument("--json", type=Path, metavar="PATH", help=f"default: a new file in {RESULTS.name}/ here")
    parser.add_argument("--quick", action="store_true", help="see that it works: a thousand of each")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return options_of(**given)


def options_of(*, quick: bool, **told: Any) -> Options:
    return Options(**(QUICK if quick else {}) | told)


async def measure(options: Options, folder: Path) -> tuple[list[Figure], Bytes]:
    figures: list[Figure] = []
    for part in (history, search, listing):
        async with opened(options, folder, part.__name__) as filling:
            async for figure in part(filling, options):
                figures.append(figure)
                print(f"  {figure.what}, {figure.rows:,}: {figure.p50:.1f} / {figure.p95:.1f} ms", flush=True)
    async with opened(options, folder, "bytes") as filling:
        sizes = await disk(filling, options, place(options, folder, "bytes"))
    return figures, sizes


@asynccontextmanager
async def opened(options: Options, folder: Path, name: str) -> AsyncIterator[Filling]:
    """A store for one part: a file or a schema of its own, else the one that was named, where owners keep the parts apart."""
    began = time.perf_counter()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(place(options, folder, name)))
        filling = Filling(store, Prose())
        await filling.open()
        yield filling
    print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)


def place(options: Options, folder: Path, name: str) -> str:
    if options.store is None:
        return f"sqlite:///{folder / name}.db"
    if options.store.startswith("postgres"):
        return f"{options.store}{'&' if '?' in options.store else '?'}schema=bench_{name}"
    return options.store


# --- the parts ---------------------------------------------------------------------------------------------------


def sizes_up_to(greatest: int) -> list[int]:
    return [10**power for power in range(2, 7) if 10**power < greatest] + [greatest]


async def history(filling: Filling, options: Options) -> AsyncIterator[Figure]:
    """Pages of one session that grows."""
    key, random, done = filling.new_key("history"), Random(1), 0
    talk = filling.talk(key, options.history // 2, deltas=False)
    read = History(_decisions(filling.store))
    known: list[str] = []
    for size in sizes_up_to(options.history):
        # Without their words: nobody searches here, and they would take most of the time and of the disk.
        await filling.write(_knowing(known, islice(talk, (size - done) // 2 + (done == 0))), search=False)
        done = size
        assert len(known) == size

        windows: dict[str, Callable[[], Window]] = {
            "newest": lambda: Window(limit=PAGE, before="end"),
            "some": lambda: Window(limit=PAGE, before=random.choice(known)),
            "oldest": lambda: Window(limit=PAGE),
        }
        for what, window in windows.items():
            yield await timed(
                "history",
                f"{what} {PAGE} messages of a session",
                size,
                options.asked,
                partial(_asking, window, partial(read.page, key)),
            )


def _knowing(known: list[str], appends: Iterator[Append]) -> Iterator[Append]:
    """The appends, whose messages are known from then on. One by one: a million of them are no list."""
    for append in appends:
        known += [row.id for row in append.created]
        yield append


async def search(filling: Filling, options: Options) -> AsyncIterator[Figure]:
    """Messages of one owner in many sessions, found by what is said often and seldom, and by the beginning of a word."""
    prose, random, done = filling.prose, Random(1), 0
    found = Search(filling.store)
    kinds: dict[str, Callable[[], str]] = {
        "words as they are said, two at a time": lambda: " ".join(prose.said(2)),
        "one of the hundred most frequent words": lambda: random.choice(prose.words[:100]),
        "three rare words": lambda: " ".join(random.choices(prose.words[1_000:], k=3)),
        "the first letters of a word": lambda: random.choice(prose.words)[: random.randint(1, 3)],
    }
    for size in sizes_up_to(options.messages):
        while done < size:
            turns = min(TURNS, (size - done) // 2)
            await filling.write(filling.talk(filling.new_key("search"), turns, deltas=False))
            done += 2 * turns
        for what, question in kinds.items():
            ask = partial(_asking, question, lambda q: found.find("search", q, 20))
            yield await timed("search", f"search: {what}", size, options.asked, ask)
        listed = partial(_asking, kinds["one of the hundred most frequent words"], partial(_sessions, filling.store))
        yield await timed("search", f"{PAGE} sessions with a frequent word", size, options.asked, listed)


async def _sessions(store: Store, q: str) -> object:
    return await store.sessions("search", after=None, limit=PAGE, words=words_of(q))


async def listing(filling: Filling, options: Options) -> AsyncIterator[Figure]:
    """Pages of one owner's sessions."""
    random, done, store = Random(1), 0, filling.store
    cursors: list[SessionCursor] = []
    for size in sizes_up_to(options.sessions):
        # Without their titles, as above.
        await filling.write(_placed(cursors, filling.sessions("list", size - done)), search=False)
        done = size
        assert len(cursors) == size
        for what, places in (("newest", [None]), ("some", cursors)):
            ask = partial(
                _asking, partial(random.choice, places), lambda after: store.sessions("list", after=after, limit=PAGE)
            )
            yield await timed("list", f"{what} {PAGE} sessions", size, options.asked, ask)


def _placed(cursors: list[SessionCursor], appends: Iterator[Append]) -> Iterator[Append]:
    """The appends, whose sessions are places in the list from then on."""
    for append in appends:
        if append.header is not None:
            cursors.append(SessionCursor(append.header.session.updated_at, append.header.session.id))
        yield append


async def disk(filling: Filling, options: Options, url: str) -> Bytes:
    """Bytes on the disk, with all deltas, and once a sweep has dropped them."""
    store, done = filling.store, 0
    while done < options.bytes_of:
        turns = min(TURNS, (options.bytes_of - done) // 2)
        await filling.write(filling.talk(filling.new_key("bytes"), turns, deltas=True))
        done += 2 * turns
    before, _ = await occupied(url)
    while ripe := await store.ripe(LONG_AFTER, PIECE):
        for key in dict.fromkeys(key for key, _ in ripe):
            await store.compact(key, [message_id for where, message_id in ripe if where == key], DROPPED)
    after, index = await occupied(url)
    return Bytes(
        messages=done,
        text=filling.text_bytes / done,
        before=before / done,
        after=after / done,
        index=None if index is None else index / done,
    )


# --- how it is measured ------------------------------------------------------------------------------------------


def _asking(choose: Callable[[], T], ask: Callable[[T], Awaitable[object]]) -> Awaitable[object]:
    return ask(choose())


def _decisions(store: Store) -> Decisions:
    return Decisions(store, Writer(store, LocalSignals()))


async def timed(part: str, what: str, rows: int, asked: int, ask: Callable[[], Awaitable[object]]) -> Figure:
    """Asks one after the other, a few times before the clock runs."""
    for _ in range(max(2, asked // 20)):
        await ask()
    taken = []
    for _ in range(asked):
        began = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - began) * 1e3)
    return Figure(
        part=part,
        what=what,
        rows=rows,
        asked=asked,
        p50=quantile(taken, 0.5),
        p95=quantile(taken, 0.95),
        most=max(taken),
    )


async def occupied(url: str) -> tuple[int, int | None]:
    """Bytes of the whole store, and those of the index of words. In a file free pages are among them."""
    if url.startswith("sqlite"):
        return _of_file(Path(url.removeprefix("sqlite:///")))
    if url.startswith("postgres"):
        return await _of_postgres(url)
    return 0, None


def _of_file(path: Path) -> tuple[int, int | None]:
    with closing(sqlite3.connect(path)) as connection:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        [size] = connection.execute("PRAGMA page_size").fetchone()
        try:
            [index] = connection.execute(
                "SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'word_index%' OR name LIKE 'texts%'"
            ).fetchone()
        except sqlite3.OperationalError:  # a SQLite that was built without it
            index = None
    return pages * size, index


async def _of_postgres(url: str) -> tuple[int, int]:
    """Without the room that was freed, which Postgres keeps and uses again."""
    from rejoinder import postgres_link  # with its driver, there where its store is

    connection = await postgres_link.connect(postgres_link.parse(url), statement_timeout="0")
    try:
        named = "SELECT oid::regclass::text, pg_total_relation_size(oid) FROM pg_class"
        tables = f"{named} WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        for name, _ in await connection.fetch(tables):
            await connection.execute(f"VACUUM FULL {name}")
        sizes = dict(await connection.fetch(tables))
        return sum(sizes.values()), sizes["texts"]
    finally:
        await postgres_link.close(connection)


def table(figures: Sequence[Figure], sizes: Bytes) -> str:
    """In Markdown, with the goals."""
    lines = ["", "| question | rows | p50 ms | p95 ms | goal |", "|---|---:|---:|---:|---|"]
    greatest = {part: max(figure.rows for figure in figures if figure.part == part) for part in GOALS}
    for figure in figures:
        goal = GOALS[figure.part]
        said = "" if figure.rows < greatest[figure.part] else f"{'met' if figure.p95 < goal else 'MISSED'}: {goal:.0f}"
        lines.append(f"| {figure.what} | {figure.rows:,} | {figure.p50:.1f} | {figure.p95:.1f} | {said} |")
    met = "met" if sizes.kept <= sizes.goal else "MISSED"
    index = "?" if sizes.index is None else f"{sizes.index:,.0f}"
    lines += [
        "",
        (
            f"Bytes on the disk for a message, of {sizes.messages:,}: {sizes.text:,.0f} of text; {sizes.before:,.0f} in all with "
            f"its deltas, {sizes.after:,.0f} without; {index} of them for the search. Without the search {sizes.kept:,.0f}, "
            f"at most {sizes.goal:,.0f}: {met}."
        ),
    ]
    return "\n".join(lines)
