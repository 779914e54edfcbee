"""What is known of every session, in memory: some 500 bytes each, and enough to list them without opening a file.

All of it can be read from the files again. `Catalogue` is kept in step with them by the writer's thread; readers look
at it under `state.State.lock`.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from heapq import nsmallest

from msgspec import Struct

from rejoinder.abc import SessionCursor
from rejoinder.entities import Header, Key, OpenReply
from rejoinder.stores.batch import Place


class Entry(Struct, kw_only=True):
    """One session: where its file ends and where its last header stands, and by what it is listed."""

    key: Key
    size: int
    version: int
    last_seq: int
    header_at: int
    updated_at: str
    open: tuple[OpenReply, ...] = ()
    ripe_at: str | None = None
    """When the first of its messages ended that was not compacted yet."""
    text_at: str | None = None
    """The time of its latest text."""

    def moved(self, header: Header, at: int) -> None:
        """A new header stands in the line at this place."""
        self.version, self.header_at = header.version, at
        self.updated_at, self.open = header.session.updated_at, header.open


class Catalogue:
    """Entries by key, and by owner in order of activity."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[Key, Entry] = {}
        self._owners: dict[str, list[tuple[str, str]]] = {}
        self._open: dict[Key, Entry] = {}
        for entry in entries:
            self._entries[entry.key] = entry
            self._owners.setdefault(entry.key.owner, []).append((entry.updated_at, entry.key.session_id))
            self._note_open(entry)
        for places in self._owners.values():
            places.sort()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """Of this moment, whatever is added later."""
        return iter(list(self._entries.values()))

    def get(self, key: Key) -> Entry | None:
        return self._entries.get(key)

    def place(self, key: Key) -> Place | None:
        entry = self._entries.get(key)
        return Place(entry.version, entry.last_seq) if entry else None

    def put(self, entry: Entry) -> None:
        """Adds or replaces a session."""
        self.drop(entry.key)
        self._entries[entry.key] = entry
        insort(self._owners.setdefault(entry.key.owner, []), (entry.updated_at, entry.key.session_id))
        self._note_open(entry)

    def move(self, entry: Entry, header: Header, at: int) -> None:
        """A session has a new header."""
        if entry.updated_at != header.session.updated_at:
            places = self._owners[entry.key.owner]
            del places[bisect_left(places, (entry.updated_at, entry.key.session_id))]
            insort(places, (header.session.updated_at, entry.key.session_id))
        entry.moved(header, at)
        self._note_open(entry)

    def drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        places = self._owners[key.owner]
        del places[bisect_left(places, (entry.updated_at, key.session_id))]
        if not places:
            del self._owners[key.owner]
        self._open.pop(key, None)

    def _note_open(self, entry: Entry) -> None:
        if entry.open:
            self._open[entry.key] = entry
        else:
            self._open.pop(entry.key, None)

    # lists

    def listed(self, owner: str, after: SessionCursor | None) -> Iterator[Entry]:
        """The owner's sessions, latest activity first, behind a place. To be used under the lock."""
        places = self._owners.get(owner, [])
        end = len(places) if after is None else bisect_left(places, (after.updated_at, after.session_id))
        for at in range(end - 1, -1, -1):
            yield self._entries[Key(owner, places[at][1])]

    def with_open(self) -> Iterator[tuple[Key, OpenReply]]:
        for key, entry in self._open.items():
            for reply in entry.open:
                yield key, reply

    def writing(self, owner: str, after: str | None, limit: int) -> list[Entry]:
        """The owner's sessions with open replies, by id."""
        found = (entry for key, entry in self._open.items() if key.owner == owner and key.session_id > (after or ""))
        return nsmallest(limit, found, key=lambda entry: entry.key.session_id)

    def keys(self, after: Key | None, limit: int) -> list[Key]:
        return nsmallest(limit, (key for key in list(self._entries) if after is None or key > after))

    def idle(self, before: str, limit: int) -> list[Key]:
        found = ((entry.updated_at, entry.key) for entry in self if entry.updated_at < before)
        return [key for _, key in nsmallest(limit, found)]
