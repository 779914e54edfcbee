"""What becomes of the appends of a batch, before any of them is written.

A store whose writer is alone settles the whole batch first, with nothing but each session's place, and then writes what
was accepted. So a refusal has nothing to take back, and memory and SQLite cannot differ in what they refuse.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from rejoinder.abc import ABSENT, Append, Appended, AppendResult, Lease, Refused
from rejoinder.entities import Key
from rejoinder.errors import LeaseLost


class Place(Struct, frozen=True, gc=False):
    """Where a session stands: its version, and the seq of its last event."""

    version: int
    last_seq: int


def settle(
    appends: Sequence[Append], place_of: Callable[[Key], Place | None]
) -> tuple[list[AppendResult], dict[Key, Place]]:
    """The result of each append, in order, and where the sessions of the accepted ones stand after the batch.

    `place_of` is asked once for each session; None says that there is no such session. Raises ValueError for an append
    that contradicts itself.
    """
    results: list[AppendResult] = []
    known: dict[Key, Place | None] = {}
    after: dict[Key, Place] = {}
    for append in appends:
        key = append.key
        place = known[key] if key in known else place_of(key)
        refused = _refusal(append, place)
        if refused is None:
            before = place or Place(ABSENT, 0)
            version = checked_version(append) or before.version
            place = after[key] = Place(version, before.last_seq + len(append.drafts))
            results.append(Appended(before.last_seq + 1))
        else:
            results.append(refused)
        known[key] = place
    return results, after


def _refusal(append: Append, place: Place | None) -> Refused | None:
    expect = append.expect
    if expect == ABSENT and expect is not None:
        return None if place is None else Refused("exists")
    if place is None:
        return Refused("missing")
    return None if expect is None or expect == place.version else Refused("version")


def checked_version(append: Append) -> int | None:
    """That of the header that the append brings, if it does. Raises ValueError where it is not the one behind that at which it was
    decided, and where a session is to be created without one."""
    header = append.header
    if header is None:
        if append.expect == ABSENT:
            raise ValueError("An append that creates a session brings its header.")
        return None
    fits = header.version > ABSENT if append.expect == ABSENT else header.version - 1 == append.expect
    if not fits:
        raise ValueError(f"A header of version {header.version} was decided at version {append.expect}.")
    return header.version


def check_number(lease: Lease, number: int, last: int, acknowledged: int) -> None:
    """Raises ValueError for a number whose results are no longer kept, and LeaseLost where an acknowledged one is not known."""
    if last < acknowledged:
        raise lost(lease)
    if number < last:
        raise ValueError(f"Batch {number} of epoch {lease.epoch} comes after batch {last}.")


def lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"The lease of worker {lease.worker} (epoch {lease.epoch}) is gone.")


# --- results, as they are kept beside a lease --------------------------------------------------------------------


def encode_results(results: Sequence[AppendResult]) -> bytes:
    """A number is the first seq of an append that was done, a word the reason of one that was refused."""
    return msgspec.json.encode([result.first if isinstance(result, Appended) else result.reason for result in results])


def decode_results(data: bytes) -> list[AppendResult]:
    return [Appended(said) if isinstance(said, int) else Refused(said) for said in _decoder.decode(data)]


_decoder = msgspec.json.Decoder(list[int | Literal["version", "missing", "exists"]])
