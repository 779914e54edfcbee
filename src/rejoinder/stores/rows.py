"""The message index of one session in memory: rows by id, by parent, by lane and in order of creation."""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator

from msgspec import structs

from rejoinder.abc import Row


class Rows:
    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._children: dict[str | None, list[str]] = {}
        self._lanes: dict[str, list[str]] = {}
        self._order: list[str] = []
        self._created = array("q")

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, row_id: object) -> bool:
        return row_id in self._rows

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def add(self, row: Row) -> None:
        """Rows come in order of creation."""
        self._rows[row.id] = row
        self._children.setdefault(row.parent_id, []).append(row.id)
        insort(self._lanes.setdefault(row.lane, []), row.id, key=self._depth)
        self._order.append(row.id)
        self._created.append(row.created)

    def end(self, row_id: str, seq: int) -> None:
        self._rows[row_id] = structs.replace(self._rows[row_id], ended=seq)

    def pick(self, ids: Iterable[str]) -> dict[str, Row]:
        return {row_id: self._rows[row_id] for row_id in ids if row_id in self._rows}

    def children(self, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
        return {
            parent: [self._rows[child] for child in self._children[parent]]
            for parent in parents
            if parent in self._children
        }

    def branch(self, tip: str, low: int, high: int) -> list[Row]:
        stretches: list[list[Row]] = []
        row = self._rows.get(tip)
        while row is not None:
            stretches.append(self._stretch(row.lane, low, min(high, row.depth)))
            first = self._rows.get(row.lane)
            above = first.parent_id if first is not None and first.depth > low else None
            row = self._rows.get(above) if above is not None else None
        return [row for stretch in reversed(stretches) for row in stretch]

    def _stretch(self, lane: str, low: int, high: int) -> list[Row]:
        ids = self._lanes.get(lane, [])
        begin, end = bisect_left(ids, low, key=self._depth), bisect_right(ids, high, key=self._depth)
        return [self._rows[row_id] for row_id in ids[begin:end]]

    def created(self, after: int, before: int, limit: int, newest: bool) -> list[Row]:
        begin, end = bisect_right(self._created, after), bisect_left(self._created, before)
        if newest:
            begin = max(begin, end - limit)
        return [self._rows[row_id] for row_id in self._order[begin : min(end, begin + limit)]]

    def _depth(self, row_id: str) -> int:
        return self._rows[row_id].depth
