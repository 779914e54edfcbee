"""The text of one live reply between the upstream and the log.

Pieces gather here while a commit runs; those of the same part that follow one another become one `message.delta`, or a
few where it would be too long. Offsets are counted here, once, for the log and for the message at its end.
"""

from collections.abc import Iterator

from msgspec import structs

from rejoinder.abc import Append, TextChunk
from rejoinder.chat import ids
from rejoinder.entities import Key, Message, Part
from rejoinder.errors import LeaseLost
from rejoinder.events import Draft, MessageDelta, draft
from rejoinder.fold import ReplyText


class DeltaBuffer:
    """Holds what is not yet on its way to the log, and the whole text so far (`text`)."""

    def __init__(self, key: Key, message_id: str, text: ReplyText, *, epoch: int, max_delta: int) -> None:
        self.text = text
        self.epoch = epoch
        """Under which the reply is written: what is left of it when that is over is never committed."""
        self.refused = False
        """Whether the log has refused a delta: the session is gone or the lease was lost, and all is in vain."""
        self.fault: Exception | None = None
        """The fault of our own for which a delta is not in the log. What comes behind it would not agree with its offsets."""
        self._begun = False
        self._key = key
        self._message_id = message_id
        self._max_delta = max_delta
        self._notes: list[Draft] = []
        self._runs: list[tuple[TextChunk, list[str]]] = []
        """What waits: the first chunk of each stretch of one part, and the texts of all of it."""
        self._calls: dict[int, int] = {}
        self._call_ids: set[str] = set()
        self._size = 0

    def add(self, chunk: TextChunk) -> None:
        if not chunk.text and chunk.part != "tool_call":
            return
        if chunk.part == "tool_call":
            chunk = self._numbered(chunk)
            if chunk.extra and chunk.index is not None:
                self.text.extras[chunk.index] = chunk.extra
        self._size += len(chunk.text)
        if self._runs and _goes_on(self._runs[-1][0], chunk):
            self._runs[-1][1].append(chunk.text)
        else:
            self._runs.append((chunk, [chunk.text]))

    @property
    def size(self) -> int:
        """Code points of the whole text, with what is not yet on its way."""
        return self.text.size + self._size

    @property
    def calls(self) -> bool:
        """Whether the reply calls tools."""
        return bool(self._calls)

    @property
    def pressing(self) -> bool:
        """Whether what waits should be committed at once: the first words of an attempt."""
        return not self._begun

    def note(self, *drafts: Draft) -> None:
        """Drafts that are committed before the text that comes after them."""
        self._notes += drafts

    def restart(self, text: ReplyText) -> None:
        """A new attempt begins: offsets count from the text that it has, and calls from nothing."""
        self.text = text
        self._begun = False
        self._calls.clear()
        self._call_ids.clear()

    def take(self) -> Append | None:
        """An append of all that waits; None where nothing does."""
        drafts = self.take_drafts()
        return Append(key=self._key, drafts=drafts) if drafts else None

    def take_drafts(self) -> tuple[Draft, ...]:
        try:
            return self._taken()
        except Exception as fault:
            self.lost(fault)
            raise

    def _taken(self) -> tuple[Draft, ...]:
        self._begun = self._begun or bool(self._runs)
        runs, self._runs, self._size = self._runs, [], 0
        if self.fault is not None:
            return ()
        drafts, self._notes = self._notes, []
        for first, texts in runs:
            drafts += map(draft, self._deltas(first, "".join(texts)))
        return tuple(drafts)

    def committed(self, *, refused: bool) -> None:
        self.refused = self.refused or refused

    def lost(self, fault: Exception) -> None:
        """What was taken last is not in the log."""
        self.refused = True
        if not isinstance(fault, LeaseLost):
            self.fault = self.fault or fault

    def _numbered(self, chunk: TextChunk) -> TextChunk:
        """Upstreams number and name calls as they like, or not at all. In the log a call's index is its place among the reply's
        calls, and its id comes with its first piece and is no other call's: results are matched by it."""
        index = self._calls.get(chunk.index or 0)
        if index is not None:
            return structs.replace(chunk, index=index, id=None)
        index = self._calls[chunk.index or 0] = len(self._calls)
        call_id = chunk.id if chunk.id and chunk.id not in self._call_ids else ids.new_tool_call_id()
        self._call_ids.add(call_id)
        return structs.replace(chunk, index=index, id=call_id)

    def _deltas(self, first: TextChunk, text: str) -> list[MessageDelta]:
        part, index, call_id, name = first.part, first.index, first.id, first.name
        return [
            MessageDelta(
                message_id=self._message_id,
                part=part,
                offset=self.text.add(part, piece, index, call_id, name),
                text=piece,
                index=index,
                id=call_id,
                name=name,
            )
            for piece in _split(text, self._max_delta)
        ]


def deltas_of(reply: Message, max_delta: int) -> Iterator[MessageDelta]:
    """The deltas that tell all the text that a reply has."""
    parts: tuple[tuple[Part, str], ...] = (("reasoning", reply.reasoning), ("content", str(reply.content)))
    for part, text in parts:
        offset = 0
        for piece in _split(text, max_delta) if text else ():
            yield MessageDelta(message_id=reply.id, part=part, offset=offset, text=piece)
            offset += len(piece)


def _goes_on(first: TextChunk, chunk: TextChunk) -> bool:
    """Whether a chunk belongs to the same stretch. One that names a tool call begins anew."""
    return chunk.part == first.part and chunk.index == first.index and chunk.id is None and chunk.name is None


def _split(text: str, size: int) -> list[str]:
    """Pieces of at most `size` bytes of UTF-8, none cut inside a character."""
    if len(text) * 4 <= size or len(data := text.encode()) <= size:
        return [text]
    pieces, start = [], 0
    while start < len(data):
        end = min(start + size, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(data[start:end].decode())
        start = end
    return pieces
