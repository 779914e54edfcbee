"""Rows that go to SQLite in a few statements of many rows each.

Not for SQLite's sake: Python lets go of the interpreter around each step of a statement, and in a thread beside a busy event
loop it would have to be won back for each row.
"""

import sqlite3
from functools import cache
from typing import Any

from rejoinder.stores.sql import statements

SIZES = (64, 16, 4, 3, 2, 1)
"""Rows of one statement. Each size is prepared once and kept; 1,000 rows take 20 statements; longer ones are no quicker."""


def insert_rows(connection: sqlite3.Connection, name: str, values: list[Any], width: int) -> None:
    """Runs the statement of this name for all rows: `values` are theirs, `width` of each, one row behind the other."""
    start = 0
    for size in SIZES:
        taken = size * width
        while len(values) - start >= taken:
            connection.execute(_repeated(name, size), values[start : start + taken])
            start += taken


@cache
def _repeated(name: str, size: int) -> str:
    """The statement with its row of values `size` times over."""
    into, values, row = statements("sqlite", "write")[name].partition("VALUES ")
    return into + values + ", ".join([row] * size)
