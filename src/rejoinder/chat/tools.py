"""Tools: what must fit together among parameters, and between a reply's calls and their results."""

from collections.abc import Sequence

from rejoinder.chat.asked import ToolResult
from rejoinder.entities import JsonObject, Message
from rejoinder.errors import Invalid, wrong


def checked_params(params: JsonObject) -> JsonObject:
    """The parameters, as session and message together have them. Raises Invalid where one speaks of tools that are not there."""
    names = {tool["function"]["name"] for tool in params.get("tools") or ()}
    choice = params.get("tool_choice")
    if choice is not None and choice != "none" and not names:
        raise Invalid("There are no tools to choose from.", [_error("params.tool_choice", "No `tools` are set.")])
    if isinstance(choice, dict) and (wanted := choice["function"]["name"]) not in names:
        raise Invalid("The chosen tool is not there.", [_error("params.tool_choice", f"`tools` has no {wanted!r}.")])
    return params


def in_order_of_calls(reply: Message, results: Sequence[ToolResult]) -> list[ToolResult]:
    """The results in the order of the calls that they answer. Raises Invalid unless there is one for each call."""
    if reply.role != "assistant" or not reply.tool_calls or not reply.status == "completed":
        raise wrong("body.parent_id", f"Message {reply.id} is no reply that waits for results of tools.")
    calls = [call.id for call in reply.tool_calls]
    given: dict[str, ToolResult] = {}
    errors: list[JsonObject] = []
    for at, result in enumerate(results):
        place = f"results.{at}.tool_call_id"
        if result.tool_call_id not in calls:
            errors.append(_error(place, f"Reply {reply.id} has no call {result.tool_call_id!r}."))
        elif result.tool_call_id in given:
            errors.append(_error(place, f"There are two results for call {result.tool_call_id!r}."))
        given[result.tool_call_id] = result
    missing = [call for call in calls if call not in given]
    if missing:
        errors.append(_error("results", f"There is no result for {', '.join(map(repr, missing))}."))
    if errors:
        raise Invalid("Results come together, one for each tool call of the reply that they answer.", errors)
    return [given[call] for call in calls]


def _error(field: str, message: str) -> JsonObject:
    return {"loc": f"body.{field}", "message": message}
