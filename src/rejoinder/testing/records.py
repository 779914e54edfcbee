"""What the scripted upstream remembers of each request."""

from typing import Literal, TypeAlias

from msgspec import Struct

from rejoinder.entities import JsonObject

End: TypeAlias = Literal["", "answered", "failed", "client left"]


class Record(Struct, kw_only=True):
    """One request and what became of it. Times are `time.monotonic()`, which all processes of a machine share."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    """As it was received."""
    began: float
    """When the request was whole."""
    first: float | None = None
    """When the first token was written; token n follows at `first` and n times the pace."""
    tokens: int = 0
    """Those that were written by now."""
    usage: tuple[int, int] | None = None
    """(input, output) tokens, where they were reported."""
    end: End = ""
    """`failed` is a fault of the script. An answer that has an end stays as it is."""
    ended: float | None = None

    def as_json(self) -> JsonObject:
        told = {name: getattr(self, name) for name in self.__struct_fields__}
        return told | {"body": self.body.decode("utf-8", "replace")}
