"""SQL lives in `.sql` files, in the folder `sql` of its store: statements under their names, migrations under their numbers."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from rejoinder import stores

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statements(store: str, file: str) -> Mapping[str, str]:
    """The statements of one file of a store by name, each between its `-- name:` line and the next."""
    text = (files(stores) / store / "sql" / f"{file}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {name: statement.strip() for name, statement in zip(parts[::2], parts[1::2], strict=True)}


@cache
def migrations(store: str) -> tuple[str, ...]:
    """The scripts that bring an empty database to the present schema, in order; the first makes version 1."""
    found = sorted((files(stores) / store / "sql/migrations").iterdir(), key=lambda file: file.name)
    return tuple(file.read_text(encoding="utf-8") for file in found if file.name.endswith(".sql"))
