"""Whatever is appended, in whatever batches, a store comes to what the tiny obvious model comes to, and a worker remembers that."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from openers import Opener
from pens import NOON, Pen, at_seq, header, row, said
from rejoinder.abc import Append, EndedRow, Store
from rejoinder.chat.latest import Latest
from rejoinder.entities import Key
from store_model import Model, check, reason

Step = Callable[[Pen, Model, str], Any]

numbers = st.integers(0, 2)
minutes = st.integers(0, 3)
drafts = st.lists(st.sampled_from([None, "msg_1", "msg_2"]), min_size=1, max_size=4)


@st.composite
def appends(draw: st.DrawFn) -> Callable[[Model, str, int], Append]:
    """An append to one of three sessions, that may fit its version or not; it is made when its turn has come."""
    session, messages, minute = draw(numbers), draw(drafts), draw(minutes)
    kind, off = draw(st.sampled_from(["create", "change", "change", "delta", "delta"])), draw(st.integers(-1, 8)) == 0
    ends, ends_another, new = draw(st.booleans()), draw(st.booleans()), draw(numbers)

    def make(model: Model, owner: str, unique: int) -> Append:
        key = Key(owner, f"ses_{session}")
        texts = tuple(said(f"{unique}", message_id) for message_id in messages)
        had = model.sessions.get(key)
        if kind == "delta":
            return Append(key=key, drafts=texts)
        expect = 0 if kind == "create" or had is None else had.version + off
        places = range(min(new, len(texts)))
        ids = [f"msg_{unique}_{place}" for place in places]
        open_ids = [name for name in had.created if name not in had.ended] if had else []
        # The newest first, and what this very append creates.
        ended = [*(open_ids[-1:] if ends_another else []), *(ids[-1:] if ends_another and not ends else [])]
        made = header(key, expect + 1, title=f"{unique}", updated_at=f"2026-11-24T12:0{minute}:00.000Z")
        return Append(
            key=key,
            drafts=texts,
            expect=expect,
            header=made,
            created=tuple(row(name, at=place, ended=ends) for name, place in zip(ids, places, strict=True)),
            ended=tuple(EndedRow(id=name, at=len(texts) - 1, ended_at=NOON) for name in ended),
        )

    return make


batches = st.lists(appends(), min_size=1, max_size=6)
steps = st.lists(
    st.one_of(batches, batches, batches, st.tuples(st.just("delete"), numbers, st.booleans()), st.just("again")),
    min_size=4,
    max_size=12,
)


async def play(store: Store, owner: str, script: list[Any], unique: "count[int]") -> None:
    pen, model, latest = await Pen.of(store), Model(), Latest()
    keys = [Key(owner, f"ses_{number}") for number in range(3)]
    batch: list[Append] = []
    results: list[Any] = []
    for step in script:
        if step == "again":
            if batch:
                assert await pen.again(*batch) == results
        elif isinstance(step, tuple):
            _, number, fits = step
            had = model.sessions.get(keys[number])
            version = had.version if had and fits else 99
            done = await store.delete(keys[number], version)
            assert done == model.delete(keys[number], version)
            if done:
                latest.forget(keys[number])
        else:
            # Each append is made on what the model came to before it, so that most of them fit.
            batch, expected = [], []
            for make in step:
                batch.append(make(model, owner, next(unique)))
                expected.append(model.append(batch[-1]))
            results = await pen.write(*batch)
            assert [reason(result) for result in results] == expected
            latest.learn(batch, results)
        await check(store, model, keys)
        await check_latest(store, latest, keys)
    await store.release_lease(pen.lease)


async def check_latest(store: Store, latest: Latest, keys: Sequence[Key]) -> None:
    for key in keys:
        there = await store.header(key)
        if (header := latest.header(key)) is not None:
            assert there is not None
            assert at_seq(header, there.session.last_seq) == there
        if (newest := latest.newest(key)) is not UNSET:
            rows = await store.created(key, after=0, before=1 << 62, limit=1, newest=True)
            assert rows == ([newest] if newest else [])


def test_a_store_comes_to_what_the_model_comes_to(opener: Opener) -> None:
    unique, owners = count(), count()
    with asyncio.Runner() as runner:
        store = opener()
        runner.run(store.__aenter__())

        @settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(script=steps)
        def same(script: list[Any]) -> None:
            runner.run(play(store, f"owner {next(owners)}", script, unique))

        try:
            same()
        finally:
            runner.run(store.__aexit__(None, None, None))
