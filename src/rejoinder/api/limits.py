"""What the settings say of what clients send: its sizes, and parameters that are the upstream's own. Each refusal names the field."""

from rejoinder.api.problems import MOST_TOLD, place
from rejoinder.api.schemas import (
    ForkBody,
    NewSessionBody,
    Params,
    ReplyBody,
    SessionChangeBody,
    TextPart,
    ToolResultsBody,
    UserMessageBody,
)
from rejoinder.entities import JsonObject, Message
from rejoinder.errors import invalid, wrong
from rejoinder.settings import Settings


def check_session(body: NewSessionBody | SessionChangeBody, settings: Settings) -> None:
    check_params(body.params, settings)
    errors = _metadata(body.metadata, settings) + _title(body.title, settings)
    errors += _text("system_prompt", body.system_prompt or "", settings)
    _raise(errors)


def check_fork(body: ForkBody, settings: Settings) -> None:
    _raise(_title(body.title, settings))


def check_reply(body: ReplyBody, settings: Settings) -> None:
    check_params(body.params, settings)
    _raise(_metadata(body.metadata, settings))


def check_send(body: UserMessageBody | ToolResultsBody, settings: Settings) -> None:
    check_params(body.params, settings)
    errors = _metadata(body.metadata, settings)
    if isinstance(body, ToolResultsBody):
        for at, result in enumerate(body.results):
            errors += _text(f"results.{at}.content", result.content, settings)
    else:
        said = body.content
        text = said if isinstance(said, str) else "".join(part.text for part in said if isinstance(part, TextPart))
        errors += _text("content", text, settings)
    _raise(errors)


def check_params(params: Params, settings: Settings) -> None:
    """Raises Invalid for one that is neither known nor named in the settings: most likely a slip of the pen."""
    extra = params.model_extra or {}
    if extra and (unknown := [name for name in extra if name not in settings.extra_names()]):
        said = "There is no such parameter. REJOINDER_EXTRA_PARAMS names those that the upstream takes of its own."
        errors = [_error(place(("params", name)), said) for name in unknown[:MOST_TOLD]]
        raise invalid(errors)


def check_imported(message: Message, settings: Settings) -> None:
    """A message out of a file. A reply may have what the service would have let a reply become."""
    errors = _metadata(message.metadata, settings)
    if message.role == "assistant":
        arguments = (call.function.arguments for call in message.tool_calls)
        size = sum(len(text.encode()) for text in (str(message.content), message.reasoning, *arguments))
        if size > settings.max_reply:
            errors.append(_error("content", f"A reply may have {settings.max_reply} bytes of UTF-8."))
    else:
        said = message.content
        text = said if isinstance(said, str) else "".join(part.get("text", "") for part in said)
        errors += _text("content", text, settings)
    _raise(errors)


def page_size(limit: int, settings: Settings) -> int:
    """The limit of a page, or Invalid."""
    if not 1 <= limit <= settings.max_page:
        raise wrong("query.limit", f"A page has 1 to {settings.max_page} items.")
    return limit


def _title(title: str | None, settings: Settings) -> list[JsonObject]:
    if title is None or len(title) <= settings.max_title:
        return []
    return [_error("title", f"A title may have {settings.max_title} characters.")]


def _metadata(metadata: dict[str, str], settings: Settings) -> list[JsonObject]:
    errors = []
    if len(metadata) > settings.max_metadata:
        errors.append(_error("metadata", f"There may be {settings.max_metadata} pairs."))
    if any(not 1 <= len(key) <= settings.max_metadata_key for key in metadata):
        errors.append(_error("metadata", f"A key has 1 to {settings.max_metadata_key} characters."))
    if any(len(value) > settings.max_metadata_value for value in metadata.values()):
        errors.append(_error("metadata", f"A value may have {settings.max_metadata_value} characters."))
    return errors


def _text(field: str, text: str, settings: Settings) -> list[JsonObject]:
    if len(text.encode()) <= settings.max_text:
        return []
    return [_error(field, f"The text may have {settings.max_text} bytes of UTF-8.")]


def _error(field: str, message: str) -> JsonObject:
    return {"loc": f"body.{field}", "message": message}


def _raise(errors: list[JsonObject]) -> None:
    if errors:
        raise invalid(errors)
