"""The thread in which a store writes: one thing after the other, each told to who asked for it, and all of it before the end."""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from rejoinder.errors import StoreUnavailable
from rejoinder.stores.threads import Threads, WritingThread

SOON = 5.0
"""Seconds after which a test that waits has failed."""


@pytest.fixture
def thread() -> Iterator[WritingThread]:
    thread = WritingThread("writer")
    yield thread
    thread.end()


class Gate:
    """Work that goes on when it may."""

    def __init__(self) -> None:
        self.begun, self.may = threading.Event(), threading.Event()

    def work(self) -> str:
        self.begun.set()
        assert self.may.wait(SOON)
        return "through"


async def test_one_thing_is_done_after_the_other(thread: WritingThread) -> None:
    done: list[int] = []
    await asyncio.gather(*(thread.do(partial(done.append, n)) for n in range(100)))
    assert done == [*range(100)]


async def test_what_goes_wrong_is_told_and_the_next_thing_is_done(thread: WritingThread) -> None:
    with pytest.raises(ZeroDivisionError):
        await thread.do(lambda: 1 // 0)
    assert await thread.do(lambda: "next") == "next"


async def test_what_was_cancelled_before_its_turn_is_not_done_and_what_had_begun_ends(thread: WritingThread) -> None:
    gate, done = Gate(), list[str]()
    first = thread.do(lambda: done.append(gate.work()))
    await asyncio.to_thread(gate.begun.wait, SOON)
    second = thread.do(lambda: done.append("second"))
    first.cancel()
    second.cancel()
    gate.may.set()
    await thread.do(lambda: done.append("third"))
    assert done == ["through", "third"]


async def test_what_is_begun_from_elsewhere_is_ended_here_with_nothing_between(thread: WritingThread) -> None:
    done = list[tuple[str, int]]()

    def first() -> str:
        done.append(("first", threading.get_ident()))
        return "then"

    def then(said: str) -> str:
        done.append((said, threading.get_ident()))
        return said

    begun = thread.do_from_here(first, then)
    thread.do(lambda: done.append(("next", threading.get_ident())))
    assert begun is not None
    assert await begun == "then"
    await thread.do(lambda: None)
    other = thread._thread.ident
    assert done == [("first", threading.get_ident()), ("then", other), ("next", other)]


async def test_nothing_is_begun_from_elsewhere_before_what_is_done_or_waits(thread: WritingThread) -> None:
    gate, done = Gate(), list[str]()
    doing = thread.do(gate.work)
    waiting = thread.do(lambda: done.append("waited"))
    for _ in range(2):
        assert thread.do_from_here(lambda: done.append("never"), lambda _: None) is None
        await asyncio.to_thread(gate.begun.wait, SOON)
    gate.may.set()
    await asyncio.gather(doing, waiting)
    begun = thread.do_from_here(lambda: done.append("begun"), lambda _: done.append("ended"))
    assert begun is not None
    await begun
    assert done == ["waited", "begun", "ended"]


async def test_what_goes_wrong_in_the_beginning_has_no_end_and_what_was_begun_has_one(thread: WritingThread) -> None:
    done = list[str]()
    with pytest.raises(ZeroDivisionError):
        thread.do_from_here(lambda: 1 // 0, lambda _: done.append("never"))
    begun = thread.do_from_here(lambda: "ended", done.append)
    assert begun is not None
    begun.cancel()
    await thread.do(lambda: done.append("next"))
    assert done == ["ended", "next"]
    await asyncio.to_thread(thread.end)
    with pytest.raises(StoreUnavailable):
        thread.do_from_here(lambda: done.append("never"), lambda _: None)


async def test_another_thread_waits_for_what_it_asks_for(thread: WritingThread) -> None:
    assert await asyncio.to_thread(thread.wait_for, threading.current_thread) is thread._thread
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(thread.wait_for, lambda: 1 // 0)


async def test_the_end_comes_behind_all_that_was_asked_for_and_before_all_that_is_asked_for_then(
    thread: WritingThread,
) -> None:
    gate, done = Gate(), list[int]()
    first, *others = thread.do(gate.work), *(thread.do(partial(done.append, n)) for n in range(10))
    ending = asyncio.create_task(asyncio.to_thread(thread.end))
    await asyncio.to_thread(gate.begun.wait, SOON)
    for _ in range(round(SOON / 0.01)):
        if thread._ended:
            break
        await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable):
        thread.do(gate.work)
    with pytest.raises(StoreUnavailable):
        thread.wait_for(gate.work)
    assert not ending.done()
    gate.may.set()
    await asyncio.wait_for(ending, SOON)
    assert await first == "through"
    await asyncio.gather(*others)
    assert done == [*range(10)]


def test_a_loop_that_is_gone_is_not_told(thread: WritingThread) -> None:
    gate = Gate()

    async def leave() -> None:
        thread.do(gate.work)
        await asyncio.to_thread(gate.begun.wait, SOON)

    asyncio.run(leave())
    gate.may.set()
    assert thread.wait_for(lambda: "and on") == "and on"


async def test_closing_waits_for_what_is_written_also_if_it_is_cancelled_itself() -> None:
    threads, gate, last = Threads("store"), Gate(), list[str]()
    writing = asyncio.create_task(threads.write(gate.work))
    closing = asyncio.create_task(threads.close(lambda: last.append("read"), lambda: last.append("written")))
    await asyncio.to_thread(gate.begun.wait, SOON)
    closing.cancel()
    await asyncio.sleep(0.05)
    assert not closing.done()
    gate.may.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(closing, SOON)
    assert await writing == "through"
    assert last == ["read", "written"]
    for late in (threads.write, threads.read):
        with pytest.raises(StoreUnavailable):
            await late(gate.work)
