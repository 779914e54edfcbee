"""Packing: what comes out is what went in, and years later as well."""

from hypothesis import given
from hypothesis import strategies as st

from rejoinder.entities import Message
from rejoinder.events import MessageCreated, draft
from rejoinder.stores.packing import is_packed, packed, unpacked

MESSAGE = draft(MessageCreated(message=Message(id="msg_1", session_id="ses_1", role="user", created_at="2026"))).data

KEPT = "01c39e220db12549436cd97e04e571ccb4580b00"


@given(st.binary())
def test_what_is_packed_is_unpacked(said: bytes) -> None:
    for data in (b"{" + said, b"{" + said * 50, MESSAGE + said):
        small = packed(data)
        assert unpacked(small) == data
        assert len(small) <= len(data)
        assert packed(small) == small


def test_an_event_becomes_small() -> None:
    assert len(packed(MESSAGE)) < len(MESSAGE) / 4
    assert packed(b"{}") == b"{}"


def test_what_was_packed_by_an_earlier_version_is_read_for_ever() -> None:
    """Fails where the dictionary is changed: files are full of what was packed with it."""
    kept = bytes.fromhex(KEPT)
    assert is_packed(kept)
    assert unpacked(kept) == MESSAGE
