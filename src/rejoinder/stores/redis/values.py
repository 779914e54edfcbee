"""What scripts and commands of Redis answer, as values."""

from collections.abc import Sequence

import msgspec
from msgspec import structs

from rejoinder.abc import Row
from rejoinder.entities import Header
from rejoinder.events import Event

headers = msgspec.json.Decoder(Header)
_static = msgspec.json.Decoder(tuple[str | None, str, int])


def header(kept: bytes | None, last: bytes | None) -> Header | None:
    if kept is None:
        return None
    found = headers.decode(kept)
    return structs.replace(found, session=structs.replace(found.session, last_seq=int(last or 0)))


def events(values: Sequence[bytes]) -> list[Event]:
    each = iter(values)
    return [
        Event(int(seq), kind.decode(), message_id.decode() if message_id else None, data)
        for seq, kind, message_id, data in zip(each, each, each, each, strict=True)
    ]


def row(message_id: str, kept: bytes) -> Row:
    created, ended, _, static = kept.split(b" ", 3)
    parent_id, lane, depth = _static.decode(static)
    return Row(
        id=message_id,
        parent_id=parent_id,
        lane=lane,
        depth=depth,
        created=int(created),
        ended=int(ended) if ended else None,
    )
