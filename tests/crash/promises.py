"""What must hold of a session after any crash, one promise each. Each raises where it is broken."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import msgspec

from rejoinder.entities import Message, Session
from rejoinder.events import Event
from rejoinder.fold import History, fold
from rejoinder.llm.scripted_answer import full_text
from strict_sse import Frame, text_of
from wire import ENDS, Json
from witnesses import PARTS, Witnessed, bare, is_told, part_of


@dataclass(frozen=True)
class Kept:
    """What the service keeps of a session: itself, its messages, and its log from seq 1, all as of one seq."""

    session: Json
    messages: list[Json]
    log: list[Frame]
    compacts: bool = False

    @property
    def sid(self) -> str:
        return str(self.session["id"])

    @property
    def replies(self) -> list[Json]:
        return [message for message in self.messages if message["role"] == "assistant"]


@dataclass(frozen=True)
class Known:
    """What was witnessed of a session by some moment: frames by seq, replies by message id, titles."""

    seen: dict[int, bytes]
    acknowledged: dict[str, str]
    stopped: set[str]
    titles: list[str]

    @classmethod
    def of(cls, witnessed: Witnessed, sid: str) -> "Known":
        return cls(
            seen=dict(witnessed.seen[sid]),
            acknowledged={mid: reply for (where, mid), reply in witnessed.acknowledged.items() if where == sid},
            stopped={reply for where, reply in witnessed.stopped if where == sid},
            titles=list(witnessed.titles[sid]),
        )


def nothing_acknowledged_is_lost(kept: Kept, known: Known) -> None:
    """Every message that was answered for is there once, under its one reply; and so is every title, in order."""
    ids = Counter(message["id"] for message in kept.messages)
    assert max(ids.values(), default=1) == 1, "a message is there twice"
    parents = {reply["id"]: reply["parent_id"] for reply in kept.replies}
    for mid, reply in known.acknowledged.items():
        assert ids[mid] == 1, f"{mid} was acknowledged and is lost"
        assert parents.get(reply) == mid, f"the reply {reply} to {mid} is lost"
    titles = iter(frame.data["session"]["title"] for frame in kept.log if frame.type == "session.updated")
    for title in known.titles:
        assert title in titles, f"the change of the title to {title!r} was acknowledged and is lost"


def nothing_is_doubled(kept: Kept, sent: dict[tuple[str, str], str]) -> None:
    """However often a message was sent, there is one reply to it; and nothing is there that nobody sent."""
    asked = [message["id"] for message in kept.messages if message["role"] == "user"]
    assert all((kept.sid, mid) in sent for mid in asked)
    assert Counter(reply["parent_id"] for reply in kept.replies) == Counter(asked)


def nothing_seen_is_missing(kept: Kept, known: Known) -> None:
    """Each frame that any reader saw is in the log, under the same seq, to the byte; but for deltas that were dropped."""
    log = {frame.seq: bare(frame) for frame in kept.log}
    for seq, raw in known.seen.items():
        if not (kept.compacts and seq not in log and raw.startswith(DELTA)):
            assert log.get(seq) == raw, f"seq {seq} of {kept.sid} was seen as {raw!r} and is {log.get(seq)!r}"


DELTA = b"event: message.delta\n"


def who_read_all_of_it_missed_nothing(kept: Kept, read: list[int]) -> None:
    """Of a session that is over."""
    log = [frame.seq for frame in kept.log]
    assert read == log or (kept.compacts and set(log) <= set(read)), (
        "who read the session through all of it missed some"
    )


def the_log_has_no_gap_and_folds_to_the_history(kept: Kept) -> None:
    messages = {message["id"]: msgspec.convert(message, Message) for message in kept.messages}
    session = msgspec.convert(kept.session, Session)
    events = [Event(frame.seq, frame.type, frame.message_id, msgspec.json.encode(frame.data)) for frame in kept.log]
    assert fold(events) == History(session=session, messages=messages, as_of=session.last_seq)


def every_reply_ends_once(kept: Kept) -> None:
    """And nothing of it comes behind its end."""
    ended: set[str] = set()
    for frame in kept.log:
        assert frame.message_id not in ended, f"{frame.raw!r} came behind the end of {frame.message_id}"
        if frame.type == "message.ended":
            ended.add(str(frame.message_id))


def every_end_keeps_the_whole_text(kept: Kept, sent: dict[tuple[str, str], str]) -> None:
    """By its offsets, without a gap and without a double; and it is what the model said, or the beginning of that."""
    for reply in kept.replies:
        if reply["status"] not in ENDS:
            continue
        mine = [frame for frame in kept.log if frame.message_id == reply["id"]]
        for part, index in PARTS:
            told = text_of(mine, reply["id"], part=part, index=index)
            assert is_told(told, part_of(reply, part), compacts=kept.compacts)
        words = sent[kept.sid, reply["parent_id"]]
        whole = full_text(words)
        assert whole.startswith(reply["content"])
        if reply["status"] == "completed":
            assert reply["content"] == whole and "fail=" not in words, "it is called completed and is not whole"


def every_end_says_how_it_came(kept: Kept, known: Known, sent: dict[tuple[str, str], str]) -> None:
    """A reply that a kill cut off is `interrupted`, and `stopped` where someone had asked for its end. All have usage."""
    stopping = {frame.message_id for frame in kept.log if frame.type == "message.stopping"}
    for reply in kept.replies:
        code = (reply["error"] or {}).get("code")
        match reply["status"]:
            case "interrupted":
                assert code == "server_restarted" and reply["id"] not in stopping
            case "failed":
                assert code == "upstream_error" and "fail=upstream_error" in sent[kept.sid, reply["parent_id"]]
            case "stopped":
                assert code is None and reply["id"] in stopping
            case "completed":
                assert code is None and reply["finish_reason"] in ("stop", "tool_calls")
            case live:
                assert live == "streaming" and reply["id"] not in known.stopped, "a stop was answered for, and it lives"
                continue
        assert reply["usage"]["output_tokens"] > 0 or not reply["content"]
        assert len(reply["attempts"]) == 1


def stuck(kept: Kept, before: set[str] | None = None) -> set[str]:
    """The replies that are still live, of those that were there before, if any are given. There must be none."""
    live = {reply["id"] for reply in kept.replies if reply["status"] not in ENDS}
    return live if before is None else live & before


def nothing_was_asked_twice(records: list[dict[str, Any]], all_kept: list[Kept]) -> int:
    """No upstream was asked for a reply more often than its `attempts` tell. Returns how often in all.

    And none was asked before that stood in the log, so that what is billed is always on record.
    """
    asked = Counter(_whose_prompt(record) for record in records if record["path"] == "/v1/chat/completions")
    attempts = {reply["parent_id"]: len(reply["attempts"]) for kept in all_kept for reply in kept.replies}
    for mid, times in asked.items():
        assert times <= attempts.get(mid, 0), f"{mid} was asked {times} times, and {attempts.get(mid)} are on record"
    for kept in all_kept:
        for reply in kept.replies:
            assert asked[reply["parent_id"]] or not reply["content"], "text that no upstream was asked for"
    return asked.total()


def _whose_prompt(record: dict[str, Any]) -> str:
    """The id that stands in the last message, below its script."""
    content: str = msgspec.json.decode(record["body"])["messages"][-1]["content"]
    return content.rpartition("\n")[2]
