"""What a line of a file must be for the service to rely on it. Each check raises Invalid, which names the field."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import structs

from rejoinder.chat import ids
from rejoinder.chat.export_format import MessageLine, SessionLine
from rejoinder.chat.forking import begun
from rejoinder.entities import JsonObject, Message, Status
from rejoinder.errors import Invalid


def check_message(line: MessageLine) -> None:
    """What every reader of the service relies on: a message has ended, and only replies have what replies have."""
    message = line.message
    check_time("message.created_at", message.created_at)
    check(message.status.ended, "message.status", "This message has not ended.")
    check(
        (message.tool_call_id is not None) == (message.role == "tool"), "message.tool_call_id", "It is a tool's alone."
    )
    if message.ended_at is not None:
        check_time("message.ended_at", message.ended_at)
    if message.role != "user":
        check(isinstance(message.content, str), "message.content", "Only a user's message has parts.")
    if message.role != "assistant":
        plain = structs.replace(begun(message), **_own(message))
        check(message == plain and not line.models and not line.params, "message", "It has what only a reply has.")
        return
    continues = message.continues
    check(
        continues is None or bool(ids.MESSAGE_ID.fullmatch(continues)), "message.continues", "This is no message's id."
    )
    check(message.ended_at is not None, "message.ended_at", "A reply that has ended has a time of its end.")
    usage = message.usage
    check(usage is not None, "message.usage", "A reply that has ended has its usage.")
    if usage is not None:
        counted = usage.input_tokens >= 0 and usage.output_tokens >= 0
        check(counted, "message.usage", "There are no fewer than 0 tokens.")
    if message.status in (Status.FAILED, Status.INTERRUPTED):
        check(message.error is not None, "message.error", "A reply that failed tells why.")


def _own(message: Message) -> JsonObject:
    """What a message that is no reply may have, beside what every message has."""
    return {
        "role": message.role,
        "content": message.content,
        "tool_call_id": message.tool_call_id,
        "status": Status.COMPLETED,
        "continues": None,
        "ended_at": message.ended_at,
    }


def converted(said: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(said, kind)
    except msgspec.ValidationError as wrong:
        raise Invalid(str(wrong)) from wrong


def check_known(said: JsonObject, line: SessionLine | MessageLine) -> None:
    """Raises Invalid for a field that this version does not know: to pass it over would lose it."""
    part = "session" if isinstance(line, SessionLine) else "message"
    unknown = _unknown(said[part], msgspec.json.decode(line.encoded())[part], part)
    check(unknown is None, str(unknown), "This service does not know this field.")


def _unknown(said: Any, known: Any, path: str) -> str | None:
    """The path of the first field of `said` that is not in `known`."""
    if said == known:  # as in every file that an export wrote: the quick way
        return None
    pairs: list[tuple[str, Any, Any]] = []
    match said, known:
        case dict(), dict():
            if strange := [name for name in said if name not in known]:
                return f"{path}.{strange[0]}"
            pairs = [(f"{path}.{name}", value, known[name]) for name, value in said.items()]
        case list(), list():
            pairs = [(f"{path}.{at}", *pair) for at, pair in enumerate(zip(said, known, strict=True))]
    return next((found for where, one, other in pairs if (found := _unknown(one, other, where))), None)


def check(good: bool, where: str, what: str) -> None:
    if not good:
        raise Invalid(f"{what} ({where})", [{"loc": where, "message": what}])


def check_time(where: str, time: str) -> None:
    good = bool(ids.TIME.fullmatch(time))
    if good:
        try:
            datetime.fromisoformat(time)
        except ValueError:
            good = False
    check(good, where, "This is no time in UTC with milliseconds (RFC 3339).")
