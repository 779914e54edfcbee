"""What sessions are like that this worker changed lately, as its last changes left them.

Where nobody else writes the store, that is what is there, and a decision need not read it.
"""

from collections.abc import Sequence

from msgspec import UNSET, UnsetType, structs

from rejoinder.abc import ABSENT, Append, Appended, AppendResult, Row
from rejoinder.entities import Header, Key

SESSIONS = 2_000
"""How many are kept in mind."""


class Latest:
    def __init__(self) -> None:
        self._headers: dict[Key, Header] = {}
        self._newest: dict[Key, Row | None] = {}

    def header(self, key: Key) -> Header | None:
        """Its `last_seq` is not kept up."""
        return self._headers.get(key)

    def newest(self, key: Key) -> Row | UnsetType | None:
        """The message that was created last, under which nothing stands. None where there is none, UNSET where that is not known."""
        return self._newest.get(key, UNSET)

    def forget(self, key: Key) -> None:
        self._headers.pop(key, None)
        self._newest.pop(key, None)

    def learn(self, appends: Sequence[Append], results: Sequence[AppendResult]) -> None:
        """To be told of every batch, in order."""
        if len(self._headers) > SESSIONS or len(self._newest) > SESSIONS:
            self._headers.clear()
            self._newest.clear()
        for append, result in zip(appends, results, strict=True):
            if not isinstance(result, Appended):
                self.forget(append.key)  # whoever is refused decides again, on what is there
                continue
            if append.header is not None:
                self._headers[append.key] = append.header
            if append.created or append.expect == ABSENT:
                self._newest[append.key] = _last_of(append, result.first)
            elif append.ended:
                self._end(append, result.first)

    def _end(self, append: Append, first: int) -> None:
        newest = self._newest.get(append.key)
        for end in append.ended:
            if newest is not None and newest.id == end.id:
                self._newest[append.key] = structs.replace(newest, ended=first + end.at)


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
