"""`rejoinder copy`: from store to store, with progress on standard error and a comparison at the end."""

import asyncio
import sys
import time

from rejoinder.chat.copying import Copied, Copying, Sum
from rejoinder.signals.local import LocalSignals
from rejoinder.stores import open_store

EVERY = 1.0
"""Seconds between two lines of progress."""


def copy_stores(source: str, target: str) -> bool:
    """Copies, and returns whether the target then has all that the source has. Raises RejoinderError."""
    return asyncio.run(_copy(source, target))


async def _copy(source: str, target: str) -> bool:
    progress = _Progress()
    async with (
        open_store(source, make=False) as read,
        open_store(target) as written,
        LocalSignals() as signals,
        Copying(read, written, signals) as copying,
    ):
        done = await copying.run(progress.show)
        progress.end(done)
        _say("comparing both sides")
        one, other = await copying.sums()
    for key in done.differ:
        _say(f"{key.session_id} of {key.owner!r} is there with other content; it was left alone.")
    print(f"source  {_told(one)}")
    print(f"target  {_told(other)}")
    if one != other:
        _say("The target does not have what the source has.")
    return one == other


class _Progress:
    def __init__(self) -> None:
        self._began = self._shown = time.monotonic()

    def show(self, done: Copied) -> None:
        if time.monotonic() - self._shown >= EVERY:
            self._shown = time.monotonic()
            self.end(done)

    def end(self, done: Copied) -> None:
        rate = done.messages / max(time.monotonic() - self._began, 0.001)
        _say(
            f"{done.sessions:,} sessions copied with {done.messages:,} messages ({rate:,.0f}/s); "
            f"{done.present:,} were there, {len(done.differ):,} differ"
        )


def _told(side: Sum) -> str:
    return f"{side.sessions:,} sessions  {side.messages:,} messages  sha256 {side.sha256}"


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
