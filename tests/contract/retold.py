"""The history that a session's events tell, beside the one that is fetched."""

import msgspec

from rejoinder.entities import Message, Session
from rejoinder.events import Event
from rejoinder.fold import fold
from strict_sse import Frame
from wire import Api


def check_retold(api: Api, sid: str) -> list[Frame]:
    """Folds all events of a session in which nothing runs: they tell the whole history. Returns them."""
    session = api.read_session(sid)
    with api.follow_session(sid) as stream:
        stream.until(lambda frame: frame.seq == session["last_seq"])
        frames = list(stream.frames)
    told = fold(Event(frame.seq, frame.type, frame.message_id, msgspec.json.encode(frame.data)) for frame in frames)
    assert told.session == msgspec.convert(session, Session)
    assert list(told.messages.values()) == msgspec.convert(api.all_messages(sid), list[Message])
    return frames
