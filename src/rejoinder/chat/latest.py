"""What sessions are like that this worker changed lately, as its last changes left them.

Where nobody else writes the store, that is what is there, and a decision need not read it. Else it is what was there a moment ago:
good to decide on, since what is appended is refused where it is over (`decisions.py`).
"""

import sys
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType, structs

from rejoinder.abc import ABSENT, Append, Appended, AppendResult, Row
from rejoinder.entities import Header, Key

SESSIONS = 2_000
"""How many are kept in mind."""

BYTES = 64 << 20
"""What those may take in memory, as `_size` has it: all of them with 30 KB of instructions each, or 75 with sixty tools each."""

LARGE = BYTES // 8
"""Bytes of a session that is not kept in mind, so that it is in nobody's way."""

EACH = 2 << 10
"""Bytes for which a session counts at least."""

SPREAD = 24
"""Bytes in memory for each of the JSON of parameters, at most: tools take six, and what is nothing but short lists and objects so many."""


class Latest:
    def __init__(self) -> None:
        self._headers: dict[Key, Header] = {}
        """In the order of their last changes."""
        self._sizes: dict[Key, int] = {}
        self._held = 0
        self._newest: dict[Key, Row | None] = {}

    def header(self, key: Key) -> Header | None:
        """Its `last_seq` is not kept up."""
        return self._headers.get(key)

    def newest(self, key: Key) -> Row | UnsetType | None:
        """The message that was created last, under which nothing stands. None where there is none, UNSET where that is not known."""
        return self._newest.get(key, UNSET)

    def forget(self, key: Key) -> None:
        self._drop(key)
        self._newest.pop(key, None)

    def learn(self, appends: Sequence[Append], results: Sequence[AppendResult]) -> None:
        """To be told of every batch, in order."""
        for append, result in zip(appends, results, strict=True):
            if not isinstance(result, Appended):
                self.forget(append.key)  # whoever is refused decides again, on what is there
                continue
            if append.header is not None:
                self._keep(append.key, append.header)
            if append.created or append.expect == ABSENT:
                # Of a session that is read anew for a decision it is read as well: the two must be of one moment.
                if append.key in self._headers:
                    self._newest[append.key] = _last_of(append, result.first)
            elif append.ended:
                self._end(append, result.first)

    def _keep(self, key: Key, header: Header) -> None:
        if (size := _size(header)) > LARGE:
            self.forget(key)
            return
        self._drop(key)
        self._headers[key], self._sizes[key] = header, size
        self._held += size
        while self._held > BYTES or len(self._headers) > SESSIONS:
            self.forget(next(iter(self._headers)))

    def _drop(self, key: Key) -> None:
        if self._headers.pop(key, None) is not None:
            self._held -= self._sizes.pop(key)

    def _end(self, append: Append, first: int) -> None:
        newest = self._newest.get(append.key)
        for end in append.ended:
            if newest is not None and newest.id == end.id:
                self._newest[append.key] = structs.replace(newest, ended=first + end.at)


def _size(header: Header) -> int:
    """About how many bytes it takes in memory."""
    session = header.session
    params = SPREAD * len(msgspec.json.encode(session.params)) if session.params else 0
    others = len(msgspec.json.encode((session.metadata, session.title, session.model, header.open)))
    return EACH + sys.getsizeof(session.system_prompt) + params + others


def _last_of(append: Append, first: int) -> Row | None:
    if not append.created:
        return None
    new = append.created[-1]
    ends = [end.at for end in append.ended if end.id == new.id] or ([new.at] if new.ended else [])
    return Row(
        id=new.id,
        parent_id=new.parent_id,
        lane=new.lane,
        depth=new.depth,
        created=first + new.at,
        ended=first + ends[0] if ends else None,
    )
