"""No question reads more than it asks for, however large the store: each statement is narrowed by an index."""

import re
import sqlite3
from contextlib import closing

import pytest

from rejoinder.stores.sql import migrations, statements
from rejoinder.stores.sqlite.file import teach

NARROWED = {
    "header": "owner=? AND id=?",
    "sessions": "sessions_by_activity (owner=?)",
    "newest_walked": "texts_by_message (session=?)",
    "sessions_walked": "owner=? AND (updated_at,id)<(?,?)",
    "sessions_after": "owner=? AND (updated_at,id)<(?,?)",
    "events": "session=? AND seq>? AND seq<?",
    "events_of": "session=? AND seq>? AND seq<?",
    "events_at": "session=? AND seq=?",
    "rows": "session=? AND id=?",
    "children": "session=? AND parent_id=?",
    "branch": "session=? AND lane=? AND depth>? AND depth<?",
    "created": "session=? AND created>? AND created<?",
    "created_newest": "session=? AND created>? AND created<?",
    "keys": "(owner,id)>(?,?)",
    "idle": "sessions_by_idleness (updated_at<?)",
    "ripe": "messages_ripe (ended_at<?)",
}
"""How far an index takes each question, before a row is read."""


@pytest.mark.parametrize("name", NARROWED)
def test_no_question_reads_more_of_a_table_than_it_asks_for(name: str) -> None:
    text = statements("sqlite", "read")[name]
    asked = dict.fromkeys(re.findall(r":(\w+)", text), "[]")
    with closing(sqlite3.connect(":memory:")) as connection:
        teach(connection)
        for script in migrations("sqlite"):
            connection.executescript(script)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", asked)]
    assert any(NARROWED[name] in step for step in plan), plan
    tables = [step for step in plan if step != "SCAN stretches"]  # few, and no table
    assert not any(step.startswith("SCAN") and "VIRTUAL TABLE" not in step for step in tables), plan
    # Sorting would mean to read all before the first; children are few, and of a stretch all are wanted.
    assert name in ("children", "branch") or not any("TEMP B-TREE" in step for step in plan), plan
