"""A whole reply as the chunks of a stream, and back."""

from collections.abc import Iterable

from msgspec import UNSET

from rejoinder.abc import Chunk, Completion, DetailsChunk, FinishChunk, TextChunk, UsageChunk
from rejoinder.entities import FunctionCall, JsonObject, Part, ToolCall, Usage


def chunks_of(completion: Completion) -> list[Chunk]:
    """A whole reply as a stream of one read: what an upstream that does not stream answers."""
    chunks: list[Chunk] = []
    if completion.reasoning:
        chunks.append(TextChunk("reasoning", completion.reasoning))
    if completion.content:
        chunks.append(TextChunk("content", completion.content))
    for index, call in enumerate(completion.tool_calls):
        said = call.function
        chunks.append(TextChunk("tool_call", said.arguments, index, call.id, said.name, call.extra_content or None))
    if completion.reasoning_details:
        chunks.append(DetailsChunk(completion.reasoning_details))
    chunks.append(FinishChunk(completion.finish_reason))
    if completion.usage is not None:
        chunks.append(UsageChunk(completion.usage))
    return chunks


def completion_of(chunks: Iterable[Chunk]) -> Completion:
    """The whole reply that a stream made."""
    texts: dict[Part | int, list[str]] = {"content": [], "reasoning": []}
    ids, names, extras = dict[int, str](), dict[int, str](), dict[int, JsonObject]()
    finish: str = ""
    details: tuple[JsonObject, ...] = ()
    usage: Usage | None = None
    for chunk in chunks:
        match chunk:
            case FinishChunk():
                finish = chunk.reason
            case DetailsChunk():
                details = chunk.details
            case UsageChunk():
                usage = chunk.usage
            case TextChunk(index=int(index)):
                texts.setdefault(index, []).append(chunk.text)
                ids[index] = ids.get(index) or chunk.id or ""
                names[index] = names.get(index) or chunk.name or ""
                if chunk.extra:
                    extras[index] = chunk.extra
            case TextChunk(part=part):
                texts[part].append(chunk.text)
    return Completion(
        content="".join(texts["content"]),
        reasoning="".join(texts["reasoning"]),
        tool_calls=tuple(
            ToolCall(
                id=ids[index],
                function=FunctionCall(name=names[index], arguments="".join(texts[index])),
                extra_content=extras.get(index, UNSET),
            )
            for index in sorted(ids)
        ),
        reasoning_details=details,
        finish_reason=finish,
        usage=usage,
    )
