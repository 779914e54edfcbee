"""The ids that the service makes: UUIDs of version 7, which sort by time of creation."""

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.chat import ids

STEP = 245
"""Nanoseconds: a millisecond has 4,096 fractions."""
CLOCKS = st.integers(0, (1 << 48) * 1_000_000 - 3_000_000)


def made_at(nanoseconds: int) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: nanoseconds)
        return ids.new_session_id()


@given(CLOCKS)
def test_an_id_is_a_uuid_of_version_7_and_tells_its_time(nanoseconds: int) -> None:
    made = made_at(nanoseconds)
    assert ids.SESSION_ID.fullmatch(made)
    told = uuid.UUID(hex=made.removeprefix("ses_"))
    assert (told.version, told.variant) == (7, uuid.RFC_4122)
    assert told.int >> 80 == nanoseconds // 1_000_000


@given(CLOCKS, st.integers(STEP, 2_000_000))
def test_what_is_made_later_sorts_behind_also_within_a_millisecond(first: int, later: int) -> None:
    assert made_at(first) < made_at(first + later)


def test_ids_of_one_moment_are_different() -> None:
    assert len({made_at(1_790_000_000_123_456_789) for _ in range(1_000)}) == 1_000
