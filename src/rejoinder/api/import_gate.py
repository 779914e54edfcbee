"""The gate for files: what they hold is held to the same text, numbers, shapes and sizes as what clients send."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from rejoinder.api import limits, strict_json
from rejoinder.api.problems import MOST_TOLD, EdgeError, path_in, place
from rejoinder.api.schemas import ContentPart, ModelName, NewSessionBody, Params
from rejoinder.chat import ids
from rejoinder.chat.export_format import MessageLine
from rejoinder.chat.import_checks import check
from rejoinder.entities import Session
from rejoinder.errors import Invalid
from rejoinder.settings import Settings

_parts: TypeAdapter[Any] = TypeAdapter(list[ContentPart])
_models: TypeAdapter[Any] = TypeAdapter(list[ModelName])
_params: TypeAdapter[Any] = TypeAdapter(Params)
_session: TypeAdapter[NewSessionBody] = TypeAdapter(NewSessionBody)


AHEAD = 24 * 3600.0
"""Seconds by which a time of a file may lie ahead of our own: clocks differ. No change of a session is told to be before its last, so
one of the far future would be the time of all that comes after."""


class ImportGate:
    """Names of models are let in whatever they mean: a session that comes from elsewhere may name what there is not here."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._latest = ids.timestamp(-AHEAD)
        # What came in a body of its own stands one deeper in its line.
        self._max_depth = settings.max_depth + 1
        # A message with the parameters of its session and its own.
        self._max_values = 2 * settings.max_values
        # A reply each of whose characters is escaped, or a message with the parameters of its session and its own.
        self.max_line = 2 * settings.max_body + 6 * settings.max_reply

    def parse(self, line: bytes) -> Any:
        try:
            return strict_json.parse(line, self._max_depth, self._max_values)
        except EdgeError as wrong:
            told = [error for error in wrong.members.get("errors", ()) if error["loc"] != "body"]
            raise Invalid(str(wrong.detail), told) from wrong

    def session(self, session: Session) -> None:
        self._check_times({"session.created_at": session.created_at, "session.updated_at": session.updated_at})
        body = _valid(
            _session,
            {
                "title": session.title,
                "system_prompt": session.system_prompt,
                "model": list(session.model) if isinstance(session.model, tuple) else session.model,
                "params": session.params,
                "metadata": session.metadata,
            },
        )
        limits.check_session(body, self._settings)

    def message(self, line: MessageLine) -> None:
        limits.check_params(_valid(_params, line.params, "params"), self._settings)
        _valid(_models, list(line.models), "models")
        message = line.message
        self._check_times({"message.created_at": message.created_at, "message.ended_at": message.ended_at})
        named = (message.model, *(attempt.model for attempt in message.attempts))
        _valid(_models, [name for name in named if name is not None], "message", "model")
        if not isinstance(message.content, str):
            _valid(_parts, list(message.content), "message", "content")
        limits.check_imported(message, self._settings)

    def _check_times(self, times: dict[str, str | None]) -> None:
        for where, time in times.items():
            check(time is None or time <= self._latest, where, "This time lies more than a day ahead of now.")


def _valid(shape: TypeAdapter[Any], value: Any, *where: str) -> Any:
    try:
        return shape.validate_python(value, strict=True)
    except ValidationError as wrong:
        found = wrong.errors(include_url=False)[:MOST_TOLD]
        errors = [
            {"loc": place((*where, *path_in(value, error["loc"], error["type"]))), "message": error["msg"]}
            for error in found
        ]
        raise Invalid("It is not as it should be.", errors) from wrong
