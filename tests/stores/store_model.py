"""The tiny obvious model of a store: lists of events, and no cleverness at all."""

from collections.abc import Sequence

from rejoinder.abc import Append, Refused, Row, Store
from rejoinder.entities import Header, Key
from rejoinder.events import Draft


class ModelSession:
    def __init__(self) -> None:
        self.header: Header | None = None
        self.version = 0
        self.drafts: list[Draft] = []
        self.created: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        """Places in `drafts`, by message id."""


class Model:
    """Says what each append must come to, and what must be read then. Seqs are the store's: places are compared."""

    def __init__(self) -> None:
        self.sessions: dict[Key, ModelSession] = {}

    def append(self, append: Append) -> str | None:
        """Why it is refused, or None."""
        session = self.sessions.get(append.key)
        if append.expect == 0:
            if session is not None:
                return "exists"
            session = self.sessions[append.key] = ModelSession()
        elif session is None:
            return "missing"
        elif append.expect is not None and append.expect != session.version:
            return "version"
        place = len(session.drafts)
        session.drafts += append.drafts
        if append.header is not None:
            session.header, session.version = append.header, append.header.version
        for row in append.created:
            session.created[row.id] = place + row.at
            if row.ended:
                session.ended[row.id] = place + row.at
        for end in append.ended:
            session.ended[end.id] = place + end.at
        return None

    def delete(self, key: Key, version: int) -> bool:
        if key in self.sessions and self.sessions[key].version != version:
            return False
        self.sessions.pop(key, None)
        return True


async def check(store: Store, model: Model, keys: Sequence[Key]) -> None:
    """Everything that can be read of these sessions is what the model says."""
    for key in keys:
        session = model.sessions.get(key, ModelSession())
        events = await store.events(key, after=0)
        seqs = [event.seq for event in events]
        assert [(event.type, event.message_id, event.data) for event in events] == [
            (draft.type, draft.message_id, draft.data) for draft in session.drafts
        ]
        assert seqs == sorted(set(seqs))
        header = await store.header(key)
        assert (header and header.version) == (session.version or None)
        if header is not None and session.header is not None:
            assert header.session.last_seq == seqs[-1]
            assert header.session.title == session.header.session.title
            assert header.open == session.header.open
        rows = await store.created(key, after=0, before=1 << 62, limit=1_000)
        assert _places(rows, seqs) == {
            message_id: (place, session.ended.get(message_id)) for message_id, place in session.created.items()
        }
    await _check_lists(store, model, keys)


def _places(rows: Sequence[Row], seqs: Sequence[int]) -> dict[str, tuple[int, int | None]]:
    return {row.id: (seqs.index(row.created), seqs.index(row.ended) if row.ended else None) for row in rows}


async def _check_lists(store: Store, model: Model, keys: Sequence[Key]) -> None:
    for owner in {key.owner for key in keys}:
        listed = [header.session for header in await store.sessions(owner, after=None, limit=1_000)]
        expected = [
            (session.header.session.updated_at, key.session_id)
            for key, session in model.sessions.items()
            if key.owner == owner and session.header
        ]
        assert [(session.updated_at, session.id) for session in listed] == sorted(expected, reverse=True)
        open_ids = [header.session.id for header in await store.writing(owner, after=None, limit=1_000)]
        assert open_ids == sorted(
            key.session_id
            for key, session in model.sessions.items()
            if key.owner == owner and session.header and session.header.open
        )


def reason(result: object) -> str | None:
    return result.reason if isinstance(result, Refused) else None
