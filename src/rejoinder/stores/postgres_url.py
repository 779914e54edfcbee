"""The URL of a Postgres store: libpq's, with the name of a schema as one option of ours."""

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from msgspec import Struct

from rejoinder.errors import Misconfigured

SCHEMA = "rejoinder"
"""A schema of its own, so that the tables may lie in a database beside others."""

SCHEMES = ("postgresql", "postgres")


class Place(Struct, frozen=True):
    """Where a store is. `dsn` may hold a password; `shown` names the place for people and never does."""

    dsn: str
    schema: str
    shown: str


def parse(url: str) -> Place:
    """Raises Misconfigured, without any part of the URL that may be a password."""
    try:
        parts = urlsplit(url)
        database, host = parts.path.strip("/"), parts.netloc.rpartition("@")[2]
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise Misconfigured(_wrong("it cannot be read")) from None
    if parts.scheme not in SCHEMES or parts.fragment or not url.startswith(f"{parts.scheme}://"):
        raise Misconfigured(_wrong("what is no letter, digit or one of -._~ in a user or a password is written as %XX"))
    if not database or "/" in database:
        raise Misconfigured(_wrong("it names no database"))
    schemas = [value for name, value in options if name == "schema"] or [SCHEMA]
    if len(schemas) > 1 or not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schemas[0]) or schemas[0].startswith("pg_"):
        raise Misconfigured(
            "The schema of a Postgres store is a name of small letters, digits and _, and of 63 at most."
        )
    rest = urlencode([(name, value) for name, value in options if name != "schema"], quote_via=quote)
    return Place(parts._replace(query=rest).geturl(), schemas[0], f"{host or 'localhost'}/{unquote(database)}")


def _wrong(what: str) -> str:
    return f"The URL of a Postgres store is postgresql://user:password@host:port/database[?schema=name], and {what}."
