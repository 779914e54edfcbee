"""What reader threads are asked: a place is found under the lock, and the file is read without it."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from heapq import heapify, heappop, heapreplace, nlargest
from itertools import islice
from typing import NamedTuple, TypeAlias

from msgspec import structs

from rejoinder.abc import SCANNED, Found, Row, SessionCursor
from rejoinder.entities import Header, Key, OpenReply
from rejoinder.events import Event
from rejoinder.stores.files.catalogue import Entry
from rejoinder.stores.files.disk import read_lines
from rejoinder.stores.files.lines import TextLine, read_events, read_header, read_texts
from rejoinder.stores.files.log import Damaged, Log, sound
from rejoinder.stores.files.state import Spoilt, State, is_of_one_file
from rejoinder.words import has_all


class _Stretch(NamedTuple):
    """A part of a session's file, opened under the lock."""

    fd: int
    begin: int
    end: int


# the session


def header(state: State, key: Key) -> Header | None:
    with state.lock:
        entry = state.entry(key)
        if entry is None:
            return None
        place, last_seq = _Stretch(state.open(key), entry.header_at, entry.size), entry.last_seq
    return _read_header(state, key, place, last_seq)


def sessions(state: State, owner: str, after: SessionCursor | None, limit: int, words: Sequence[str]) -> list[Header]:
    having = {text.key for text in _matching(state, owner, words)} if words else None

    def chosen() -> Iterable[Entry]:
        listed = state.catalogue.listed(owner, after)
        return islice((entry for entry in listed if having is None or entry.key in having), limit)

    return _headers(state, chosen)


_Place: TypeAlias = tuple[Entry, int, int, int]
"""A session and where its header, its last seq and the end of its file were."""


def _places(entries: Iterable[Entry]) -> list[_Place]:
    """As they are now: what is changed meanwhile must not be in the list by one time and in order by another."""
    return [(entry, entry.header_at, entry.last_seq, entry.size) for entry in entries]


def _headers(state: State, chosen: Callable[[], Iterable[Entry]]) -> list[Header]:
    """Of the sessions that are chosen under the lock. One whose file is spoilt must not take the list from all: it is not among them
    once it is given up."""
    while True:
        with state.lock:
            places = _places(chosen())
        found: list[Header | None] = []
        for place in places:
            with suppress(Spoilt):
                found.append(_header_then(state, *place))
        if len(found) == len(places):
            return [header for header in found if header is not None]


def _header_then(state: State, entry: Entry, header_at: int, last_seq: int, size: int) -> Header | None:
    key = entry.key
    with state.lock:
        now = state.catalogue.get(key)
        if now is None:
            return None
        if now is not entry:  # another file by now
            header_at, last_seq, size = now.header_at, now.last_seq, now.size
        place = _Stretch(state.open(key), header_at, size)
    return _read_header(state, key, place, last_seq)


def _read_header(state: State, key: Key, place: _Stretch, last_seq: int) -> Header:
    with _reading(state, key, place) as lines:
        kept = read_header(next(lines))
    return structs.replace(kept, session=structs.replace(kept.session, last_seq=last_seq))


def orphans(state: State, held: Collection[int], limit: int) -> list[tuple[Key, OpenReply]]:
    with state.lock:
        found = (
            (key, reply)
            for key, reply in state.catalogue.with_open()
            if reply.epoch is not None and reply.epoch not in held
        )
        return list(islice(found, limit))


def writing(state: State, owner: str, after: str | None, limit: int) -> list[Header]:
    return _headers(state, lambda: state.catalogue.writing(owner, after, limit))


def keys(state: State, after: Key | None, limit: int) -> list[Key]:
    return state.catalogue.keys(after, limit)


def idle(state: State, before: str, limit: int) -> list[Key]:
    return state.catalogue.idle(before, limit)


def ripe(state: State, before: str, limit: int) -> list[tuple[Key, str]]:
    """The first of each session are known; the others are looked up as the turn comes to their session."""
    waiting = [
        (entry.ripe_at, entry.key, "", ()) for entry in state.catalogue if entry.ripe_at and entry.ripe_at < before
    ]
    heap: list[tuple[str, Key, str, tuple[tuple[str, str], ...]]] = list(waiting)
    heapify(heap)
    found: list[tuple[Key, str]] = []
    while heap and len(found) < limit:
        _, key, message_id, rest = heap[0]
        if message_id:
            found.append((key, message_id))
        else:
            with suppress(Spoilt):
                rest = state.ask(key, lambda log: _ripe_of(log, before)) or ()
        if rest:
            heapreplace(heap, (rest[0][0], key, rest[0][1], rest[1:]))
        else:
            heappop(heap)
    return found


def _ripe_of(log: Log, before: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((at, message_id) for message_id, at in log.ripe.items() if at < before))


# search


class _Match(NamedTuple):
    at: str
    key: Key
    message_id: str | None


def search(state: State, owner: str, words: Sequence[str], limit: int) -> list[Found]:
    messages = ((text, text.message_id) for text in _matching(state, owner, words))
    found = (Found(text.key, message_id) for text, message_id in messages if message_id is not None)
    return list(islice(found, limit))


def _matching(state: State, owner: str, words: Sequence[str]) -> list[_Match]:
    """Of the owner's latest texts those with these words, the latest first."""
    return [
        _Match(text.at, key, text.message_id)
        for text, key in _latest(state, owner)
        if has_all(text.words.split(), words)
    ]


def _latest(state: State, owner: str) -> list[tuple[TextLine, Key]]:
    """Sessions are read in the order of their latest text, until no other can have one that belongs here."""
    with state.lock:
        listed = sorted(
            ((entry.text_at, entry.key) for entry in state.catalogue.listed(owner, None) if entry.text_at), reverse=True
        )
    found: list[tuple[TextLine, Key]] = []
    for text_at, key in listed:
        if len(found) >= SCANNED and text_at <= found[SCANNED - 1][0].at:
            break
        with suppress(Spoilt):
            found += [(text, key) for text in _texts(state, key)]
        found = nlargest(SCANNED, found, key=lambda one: (one[0].at, one[0].message_id or ""))
    return found


def _texts(state: State, key: Key) -> Iterable[TextLine]:
    with state.lock:
        entry = state.catalogue.get(key)
        if entry is None:
            return ()
        place = _Stretch(state.open(key), 0, entry.size)
    last: dict[str | None, TextLine] = {}
    with _reading(state, key, place) as lines:
        for line in lines:
            for text in read_texts(line):
                last[text.message_id] = text
    return [text for text in last.values() if text.words]


# the log


def events(
    state: State,
    key: Key,
    after: int,
    until: int | None,
    message_ids: Collection[str] | None,
    limit: int,
    max_bytes: int,
) -> list[Event]:
    last = until if until is not None else 1 << 63
    if last <= after:
        return []
    place = state.ask(key, lambda log: _behind(state, log, after))
    found: list[Event] = []
    if place is None:
        return found
    size = 0
    with _reading(state, key, place) as lines:
        for event in (event for line in lines for event in read_events(line)):
            if event.seq > last or len(found) >= limit or size >= max_bytes:
                break
            if event.seq > after and (message_ids is None or event.message_id in message_ids):
                found.append(event)
                size += len(event.data)
    return found


def _behind(state: State, log: Log, after: int) -> _Stretch | None:
    if after >= log.last_seq:
        return None
    return _Stretch(state.open(log.key), log.begin_of(after + 1), log.size)


def events_at(state: State, key: Key, seqs: Iterable[int]) -> list[Event]:
    wanted = sorted(set(seqs))
    if not wanted:
        return []
    asked = state.ask(key, lambda log: (state.open(key), _stretches(log, wanted)))
    if asked is None:
        return []
    fd, places = asked
    found: dict[int, Event] = {}
    try:
        with sound(state.path(key)):
            for begin, end in places:
                for _, line in read_lines(fd, begin, end):
                    found |= {event.seq: event for event in read_events(line)}
    except Damaged as damaged:
        raise state.spoilt(key, damaged) from damaged
    finally:
        os.close(fd)
    return [found[seq] for seq in wanted if seq in found]


def _stretches(log: Log, seqs: Iterable[int]) -> list[tuple[int, int]]:
    """The lines that may have these events, each once."""
    places = {log.begin_of(seq): log.end_of(seq) for seq in seqs if seq <= log.last_seq}
    return sorted(places.items())


# the index


def rows(state: State, key: Key, ids: Collection[str]) -> dict[str, Row]:
    return state.ask(key, lambda log: log.rows.pick(ids)) or {}


def children(state: State, key: Key, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
    return state.ask(key, lambda log: log.rows.children(parents)) or {}


def branch(state: State, key: Key, tip: str, low: int, high: int) -> list[Row]:
    return state.ask(key, lambda log: log.rows.branch(tip, low, high)) or []


def created(state: State, key: Key, after: int, before: int, limit: int, newest: bool) -> list[Row]:
    return state.ask(key, lambda log: log.rows.created(after, before, limit, newest)) or []


# from the file


@contextmanager
def _reading(state: State, key: Key, place: _Stretch) -> Iterator[Iterator[bytes]]:
    """The lines of a stretch; its descriptor is closed behind it. Raises Spoilt."""
    try:
        with sound(state.path(key)):
            yield (line for _, line in read_lines(place.fd, place.begin, place.end))
    except Damaged as damaged:
        raise state.spoilt(key, damaged) from damaged
    except OSError as fault:
        if not is_of_one_file(fault):
            raise
        raise state.spoilt(key, fault) from fault
    finally:
        os.close(place.fd)
