"""SQL lives in `.sql` files, one folder a dialect: statements under their names, migrations under their numbers."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statements(dialect: str, file: str) -> Mapping[str, str]:
    """The statements of one file by name, each between its `-- name:` line and the next."""
    text = (files(__name__) / dialect / f"{file}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {name: statement.strip() for name, statement in zip(parts[::2], parts[1::2], strict=True)}


@cache
def migrations(dialect: str) -> tuple[str, ...]:
    """The scripts that bring an empty database to the present schema, in order; the first makes version 1."""
    found = sorted((files(__name__) / dialect / "migrations").iterdir(), key=lambda file: file.name)
    return tuple(file.read_text(encoding="utf-8") for file in found if file.name.endswith(".sql"))
