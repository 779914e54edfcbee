"""The contracts: what keeps the words (Store), what wakes readers (Signals), what answers (Provider).

Read this first. A backend implements one of these three and nothing else; each promise is written here once and is held
by one suite of tests over all backends. `docs/decisions/0001-the-contract-of-the-store.md` says how each kind of store
keeps them.
"""

import abc
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
from typing import Literal, Self, TypeAlias

from msgspec import Struct

from rejoinder.entities import Header, JsonObject, Key, OpenReply, Part, ToolCall, Usage
from rejoinder.events import Draft, Event

# --- Store: what is handed in ------------------------------------------------------------------------------------

ABSENT = 0
"""`Append.expect` of the append that creates a session. Versions of sessions are above it."""


class NewRow(Struct, frozen=True, kw_only=True):
    """A row of the message index, for a message that this append creates.

    `lane` and `depth` make every branch a few ranges: a message continues its parent's lane where it is the parent's
    first child, else it begins a lane of its own, named by its own id; `depth` is the number of its ancestors.
    `at` is the place in the append's drafts of its `message.created`; `ended` tells that it is whole from the start.
    """

    id: str
    parent_id: str | None
    lane: str
    depth: int
    at: int
    ended: bool


class EndedRow(Struct, frozen=True, kw_only=True):
    """An open message of the index that this append ends, by the draft at place `at`.

    `ended_at` is its time (RFC 3339, as in the message): from then on its deltas are ripe for `compact`.
    """

    id: str
    at: int
    ended_at: str


class Text(Struct, frozen=True, kw_only=True):
    """What a search finds: the words of an ended message or, where `message_id` is None, of the session's title.

    `words` are distinct words in the form of `rejoinder.words`, with one space between them; "" takes the text away. A text
    replaces the one that the message had. `at` (RFC 3339) puts what is found in order.
    """

    message_id: str | None
    words: str
    at: str


class Append(Struct, frozen=True, kw_only=True):
    """Drafts for the log of one session, with what must be true and what changes with them, all or nothing.

    `expect` is the version at which this was decided; ABSENT creates the session and nothing else does; None asks only
    that the session exists (deltas). `header` replaces the session's header, and its `version` is then `expect + 1`, or
    any of a session that is created; None leaves it. In both cases the header's `session.last_seq` becomes the seq of the last event.
    `staged` is the store's own: what it has by `Store.stage` already.
    """

    key: Key
    drafts: tuple[Draft, ...]
    expect: int | None = None
    header: Header | None = None
    created: tuple[NewRow, ...] = ()
    ended: tuple[EndedRow, ...] = ()
    texts: tuple[Text, ...] = ()
    staged: int | None = None

    @property
    def size(self) -> int:
        """Bytes of its drafts."""
        return sum(len(draft.data) for draft in self.drafts)


# --- Store: what comes back --------------------------------------------------------------------------------------


class Appended(Struct, frozen=True, gc=False):
    """The drafts are committed as events `first`, `first + 1`, …: consecutive, after every seq given before."""

    first: int


class Refused(Struct, frozen=True):
    """Nothing of this append was done: the session is at another `version`, is not there, or is there already."""

    reason: Literal["version", "missing", "exists"]


AppendResult: TypeAlias = Appended | Refused


class Row(Struct, frozen=True, kw_only=True):
    """A row of the message index. `ended` is the seq of the event that holds the whole message, None while it is open.

    For a message that was whole from the start that is its `message.created`.
    """

    id: str
    parent_id: str | None
    lane: str
    depth: int
    created: int
    ended: int | None


class Lease(Struct, frozen=True):
    """The right of one worker to write. Epochs rise with every lease that a store gives and are never given twice."""

    worker: str
    epoch: int


SCANNED = 10_000
"""Texts through which a store without an index of words looks at most: a second's work, and most people's all."""


class SessionCursor(Struct, frozen=True):
    """A place in the list of sessions."""

    updated_at: str
    session_id: str


class Found(Struct, frozen=True):
    """A message with the words that were looked for."""

    key: Key
    message_id: str


class Store(abc.ABC):
    """Keeps logs, and beside each a header and an index. Decides nothing about replies, branches or providers.

    Every method raises StoreUnavailable where the store cannot do it now, and then the service may ask again. Values
    that come back are the caller's own. Reads see every append that was acknowledged before they began.
    A store is used inside `async with`, by one event loop.
    """

    exclusive: bool
    """Whether one process holds the whole store. Then opening it revokes every lease that was ever given."""

    @abc.abstractmethod
    async def __aenter__(self) -> Self:
        """Opens the store and brings its schema up to date.

        Raises StoreLocked where another process holds an exclusive store, or one of an earlier version serves this one and its
        schema would change beneath it, and Misconfigured where the place cannot be used or holds something else, or a schema of a
        later version.
        """

    @abc.abstractmethod
    async def __aexit__(self, *exc: object) -> None:
        """Closes it. What was acknowledged stays."""

    # leases

    @abc.abstractmethod
    async def acquire_lease(self, worker: str, ttl: float) -> Lease:
        """Gives a lease under a new epoch, for `ttl` seconds by the store's clock."""

    @abc.abstractmethod
    async def renew_lease(self, lease: Lease, ttl: float) -> None:
        """Extends it to `ttl` seconds from now, also after its time where nobody has revoked it. Else raises LeaseLost."""

    @abc.abstractmethod
    async def release_lease(self, lease: Lease) -> None:
        """Gives it back. A lease that is gone is no error."""

    @abc.abstractmethod
    async def revoke_expired(self) -> None:
        """Revokes every lease whose time is over. An exclusive store's leases have no such time: its opening revoked them."""

    # writing

    @abc.abstractmethod
    async def append(
        self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
    ) -> list[AppendResult]:
        """Commits a batch in one transaction and returns one result for each append, in order.

        Appends to the same session may stand in one batch; a later one sees the earlier. A refusal concerns its own append alone.
        When this returns, what was appended is durable as the store promises and is seen by every read.

        `number` counts the batches of one lease from 1. A batch comes again under its number, unchanged, when its
        answer was lost (StoreUnavailable, or a cancelled call): if it had been committed, it is not done again and
        the first results are returned. Only the last number may come again; one may be passed over.
        `acknowledged` is the last number of the lease whose results came back, 0 where none did.
        Raises LeaseLost, and does nothing, where the lease has been revoked or released; and where the store does not know
        `acknowledged`, since it has lost what it had acknowledged (a fail-over, a crash of its machine): what was said behind that
        would leave a hole in the log.
        """

    async def stage(self, lease: Lease, append: Append) -> Append:
        """Takes in what is large of an append that creates a session, and gives the append to commit in its place, under the same lease.

        It takes as long as it takes, in pieces between which others write, and with a few tries where the store is away. Nothing of it is
        ever seen but by that commit; where that is refused, or never comes, the store drops it in time.
        A store that takes every append at once gives back the same. Raises StoreUnavailable and LeaseLost.
        """
        return append

    @abc.abstractmethod
    async def delete(self, key: Key, version: int) -> bool:
        """Deletes a session with all that belongs to it if it is at `version`. Returns whether it did.

        A session that is not there gives True: it is deleted.
        """

    # compaction

    @abc.abstractmethod
    async def ripe(self, before: str, limit: int) -> list[tuple[Key, str]]:
        """Messages (by key and id) that an append ended at a time (`EndedRow.ended_at`) before `before` and that were not compacted yet.

        Those that ended first come first.
        """

    @abc.abstractmethod
    async def compact(self, key: Key, message_ids: Collection[str], types: Collection[str]) -> None:
        """Drops the events of these types of these messages that stand before their ends, and gives the room back.

        The messages are ripe no more. All other events keep their seqs, and what comes later still gets greater ones. A session
        or message that is not there is no error, nor is a message that is open: its events stay. What a reader holds stays
        valid: it reads on behind its cursor. Whenever it reads, and wherever a crash came between, what is left of a message is a beginning
        of these events, or none.
        """

    # reading: the session

    @abc.abstractmethod
    async def header(self, key: Key) -> Header | None: ...

    @abc.abstractmethod
    async def sessions(
        self, owner: str, *, after: SessionCursor | None, limit: int, words: Sequence[str] = ()
    ) -> list[Header]:
        """The owner's sessions in descending order of (`session.updated_at`, `session.id`), behind `after` exclusive.

        Where `words` are given, those alone that have a text (a title or a message) which `search` would find by them.
        """

    @abc.abstractmethod
    async def orphans(self, limit: int) -> list[tuple[Key, OpenReply]]:
        """Open replies (of any `header.open`) whose epoch no lease holds, in any order. One without an epoch is none."""

    @abc.abstractmethod
    async def search(self, owner: str, words: Sequence[str], *, limit: int) -> list[Found]:
        """The owner's messages that have, for each of `words`, a word that begins with it; the latest (by `Text.at`) first.

        `words` is not empty. A store without an index of words looks through the latest `SCANNED` texts alone.
        """

    @abc.abstractmethod
    async def keys(self, *, after: Key | None, limit: int) -> list[Key]:
        """The keys of all sessions of all owners in ascending order (of code points), behind `after` exclusive."""

    @abc.abstractmethod
    async def idle(self, before: str, limit: int) -> list[Key]:
        """Sessions of all owners with `session.updated_at < before`, the longest idle first."""

    # reading: the log

    @abc.abstractmethod
    async def events(
        self,
        key: Key,
        *,
        after: int,
        until: int | None = None,
        message_ids: Collection[str] | None = None,
        limit: int = 1_000,
        max_bytes: int = 1 << 20,
    ) -> list[Event]:
        """Events with `after < seq <= until`, in order, of these messages alone where any are given.

        At most `limit`, and none behind the one with which their data reaches `max_bytes`. An empty list says that there are no
        more (or no such session).
        """

    @abc.abstractmethod
    async def events_at(self, key: Key, seqs: Iterable[int]) -> list[Event]:
        """The events with these seqs, in order of seq. One that is not there is left out."""

    # reading: the index

    @abc.abstractmethod
    async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
        """The rows of these messages, by id. One that is not there is left out."""

    @abc.abstractmethod
    async def children(self, key: Key, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
        """The children of each of these messages (None: the messages without a parent) in order of creation.

        A parent without children is left out.
        """

    @abc.abstractmethod
    async def branch(self, key: Key, tip: str, *, low: int, high: int) -> list[Row]:
        """The messages with `low <= depth <= high` of the branch that ends at message `tip`, in order of depth.

        It costs a step for each lane from the tip up to `low`, whatever the number of messages there.
        """

    @abc.abstractmethod
    async def created(self, key: Key, *, after: int, before: int, limit: int, newest: bool = False) -> list[Row]:
        """Rows with `after < created < before`, in order of creation: the first `limit` of them, or the last if `newest`."""

    # reading: what is being written

    @abc.abstractmethod
    async def writing(self, owner: str, *, after: str | None, limit: int) -> list[Header]:
        """The owner's sessions whose `header.open` is not empty, whatever their replies' status and epoch.

        In ascending order of id (of code points), behind the session id `after` exclusive: so a session that is writing
        while page after page is read is on one of them.
        """

    # health

    @abc.abstractmethod
    async def ping(self) -> None:
        """Returns if the store can be written now."""


# --- Signals -----------------------------------------------------------------------------------------------------


class Wake(Struct, frozen=True):
    """Something was committed to a session. A hint: it may be lost, doubled or late, and the log is the truth.

    `events` are the events with which the log grew, as a shortcut for those who hold all before them; they may be left
    out. `deleted` tells that the session is no more, `elsewhere` that another process has committed it.
    """

    key: Key
    events: tuple[Event, ...] = ()
    deleted: bool = False
    elsewhere: bool = False


Listener: TypeAlias = Callable[[Sequence[Wake]], None]


class Signals(abc.ABC):
    """Carries wake-ups to every process that reads. Used inside `async with`."""

    reliable: bool
    """Whether no wake is ever lost. If not, readers poll the store as well, slowly."""

    @abc.abstractmethod
    async def __aenter__(self) -> Self: ...

    @abc.abstractmethod
    async def __aexit__(self, *exc: object) -> None: ...

    @abc.abstractmethod
    def publish(self, wakes: Sequence[Wake]) -> None:
        """Sends wakes, to this process at once. Neither waits nor raises."""

    @abc.abstractmethod
    def listen(self, listener: Listener) -> None:
        """Calls `listener` with every wake, this process's own included, on the event loop: with those that came together at once,
        and after all who listened before it. It must not raise."""


# --- Provider ----------------------------------------------------------------------------------------------------


REASONING = "reasoning_content"
"""In a reply: what the model thought before. For those upstreams alone that want it back (DeepSeek's, Kimi's); others may refuse it."""

REASONING_DETAILS = "reasoning_details"
"""The same in OpenRouter's form, as it came. An upstream that does not know it may refuse it."""


class Prompt(Struct, frozen=True, kw_only=True):
    """What a model is asked, in the words of Chat Completions.

    `model` is the upstream's own name for it, without the provider's prefix; "" is the provider's default.
    `messages` are Chat Completions messages, and may have `REASONING` and `REASONING_DETAILS`. `params` are the Chat Completions
    parameters that were set; `stream` and `model` are never among them.
    """

    model: str
    messages: tuple[JsonObject, ...]
    params: JsonObject = {}


class TextChunk(Struct, frozen=True, gc=False):
    """A piece of text. `index`, `id`, `name` and `extra` belong to the part `tool_call` alone: `extra` is the call's `extra_content`."""

    part: Part
    text: str
    index: int | None = None
    id: str | None = None
    name: str | None = None
    extra: JsonObject | None = None


class DetailsChunk(Struct, frozen=True):
    """All `reasoning_details` of the reply, whole."""

    details: tuple[JsonObject, ...]


class FinishChunk(Struct, frozen=True):
    """The model has finished, with a `finish_reason` of Chat Completions."""

    reason: str


class UsageChunk(Struct, frozen=True):
    usage: Usage


class LifeChunk(Struct, frozen=True):
    """The upstream has shown that it is at work, and said nothing: a ping, or what nobody here reads. It comes alone."""


Chunk: TypeAlias = TextChunk | DetailsChunk | FinishChunk | UsageChunk | LifeChunk


class Completion(Struct, frozen=True, kw_only=True):
    """A whole reply."""

    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning_details: tuple[JsonObject, ...] = ()
    finish_reason: str
    usage: Usage | None = None
    """None where the upstream did not say."""


class ChunkStream:
    """A reply on its way, as an async iterator: whenever it is asked for more it gives all that has come by then, as one sequence.

    Made of an async generator that does so. A stream that can tell what has come without waiting says so in `ready`.
    Closing it (or cancelling the task that reads it) closes the upstream's connection before that returns, so that the
    upstream stops writing.
    """

    def __init__(self, reads: AsyncGenerator[Sequence[Chunk], None]) -> None:
        self._reads = reads

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[Sequence[Chunk]]:
        return self._reads.__anext__()

    def aclose(self) -> Awaitable[None]:
        return self._reads.aclose()

    def ready(self) -> Sequence[Chunk] | None:
        """What has come since the last read, without waiting: nothing yet where it is empty. To be asked between two reads.

        None where only the next read can tell: of an end, of a fault, and always where a stream cannot look. Does not raise.
        """
        return None

    @property
    def pieces(self) -> int:
        """In how many pieces all that was read has come. How often it is looked at what is `ready` goes by that."""
        return 0


class Provider(abc.ABC):
    """Asks models. Used inside `async with`; everything costly (a client, a child process, a model) begins there."""

    name: str
    """The prefix by which models of this provider are named: `openai`, `local`, `scripted`, or what the settings call an upstream."""

    @abc.abstractmethod
    async def __aenter__(self) -> Self: ...

    @abc.abstractmethod
    async def __aexit__(self, *exc: object) -> None: ...

    @abc.abstractmethod
    async def prepare(self, prompt: Prompt) -> Prompt:
        """The prompt as it will be asked, with all that the provider fills in. Raises ProviderError.

        A prompt that has been prepared stays as it is.
        """

    @abc.abstractmethod
    def body(self, prompt: Prompt) -> bytes:
        """The very bytes that `stream` sends upstream for a prepared prompt: one JSON object, without a key."""

    @abc.abstractmethod
    def stream(self, prompt: Prompt) -> ChunkStream:
        """Asks once, when the first read of the stream is asked for.

        It may be read some ten times a second only: what the upstream sends meanwhile waits here, or there, and comes together.
        It ends only after a FinishChunk: whatever else happens is a ProviderError, also an end without a finish.
        Texts hold neither lone surrogates nor NUL: what an upstream sends of these is replaced by U+FFFD.
        """

    @abc.abstractmethod
    async def complete(self, prompt: Prompt) -> Completion:
        """Asks once, not streaming, and returns the whole reply. Raises ProviderError. Cancelling closes the connection."""

    @abc.abstractmethod
    async def models(self) -> list[str]:
        """The upstream's names of the models that a prompt may name, the default first. Raises ProviderError."""

    def prefills(self, model: str) -> bool:
        """Whether the model goes on exactly where a last message by the assistant ends."""
        return False

    def accepts(self, model: str) -> bool:
        """Whether a session may name this model (upstream's name). Says nothing of whether the upstream has it."""
        return bool(model)

    def window(self, model: str) -> int | None:
        """Tokens that the model (upstream's name, "" for the default) takes, prompt and reply together. None: not known."""
        return None
