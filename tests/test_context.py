"""What of a conversation is sent: the rules that must hold for every one, and the words it is sent in."""

from hypothesis import given
from hypothesis import strategies as st

from rejoinder.chat.context import Kept, estimated_usage, fitting, for_reply
from rejoinder.chat.titles import LONGEST, tidy
from rejoinder.chat.wording import LeftOut, answered, units, worded
from rejoinder.entities import FunctionCall, Message, ToolCall


def said(place: int, role: str, *, calls: int = 0, answers: str = "", content: str = "x") -> Message:
    return Message(
        id=f"msg_{place}",
        session_id="ses_1",
        role=role,  # type: ignore[arg-type]
        content="" if calls else content,
        tool_calls=tuple(
            ToolCall(id=f"call_{place}_{number}", function=FunctionCall(name="f")) for number in range(calls)
        ),
        tool_call_id=answers or None,
        created_at="",
    )


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """A branch that ends with what a reply is asked for: turns, some of them with rounds of tools."""
    messages: list[Message] = []

    def add(role: str, **more: object) -> Message:
        messages.append(said(len(messages), role, **more))  # type: ignore[arg-type]
        return messages[-1]

    def round_of_tools() -> None:
        reply = add("assistant", calls=draw(st.integers(1, 3)))
        for call in reply.tool_calls:
            add("tool", answers=call.id)

    for _ in range(draw(st.integers(0, 5))):
        add("user")
        for _ in range(draw(st.integers(0, 2))):
            round_of_tools()
        add("assistant")
    add("user")
    for _ in range(draw(st.integers(0, 3))):
        round_of_tools()
    return messages


@given(conversations(), st.data())
def test_what_is_kept_is_what_an_upstream_takes(messages: list[Message], data: st.DataObject) -> None:
    costs = data.draw(st.lists(st.integers(1, 9), min_size=len(messages), max_size=len(messages)))
    room = data.draw(st.integers(0, sum(costs) + 5))
    kept = fitting(messages, costs, room).of(messages)
    assert kept[0].role == "user" and kept[-1] is messages[-1]
    assert [unit for unit in units(kept) if not answered(unit)] == [], "no call without its result"
    last = next(message for message in reversed(messages) if message.role == "user")
    assert last in kept, "the last message by the user is always there"
    places = [messages.index(message) for message in kept]
    assert places == sorted(places)
    taken = sum(costs[place] for place in places)
    *_, unit = units(messages)
    must = sum(costs[unit.start : unit.end]) + (0 if unit.of_user else costs[messages.index(last)])
    assert taken <= max(room, must)


@given(conversations(), st.data())
def test_more_room_never_keeps_less(messages: list[Message], data: st.DataObject) -> None:
    costs = data.draw(st.lists(st.integers(1, 9), min_size=len(messages), max_size=len(messages)))
    sizes = [len(fitting(messages, costs, room).of(messages)) for room in range(sum(costs) + 1)]
    assert sizes == sorted(sizes) and sizes[-1] == len(messages)


def test_a_single_message_is_kept_whatever_it_takes() -> None:
    assert fitting([said(0, "user")], [1_000], 1) == Kept(0)


def test_room_for_the_reply_is_what_was_asked_for_or_a_share() -> None:
    assert for_reply(1_000, {}) == 250 and for_reply(1_000_000, {}) == 4096
    assert for_reply(1_000, {"max_tokens": 100}) == 100
    assert for_reply(8_192, {"max_tokens": 4_096}) == 4_096, "also where it is what is kept free without a limit"
    assert for_reply(1_000, {"max_completion_tokens": 900, "max_tokens": 1}) == 875, "some is left for the prompt"


def test_an_estimate_counts_what_goes_with_a_prompt() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "d" * 4_000}}]
    asked = ({"role": "user", "content": "hi"},)
    assert estimated_usage(asked, 0, {"tools": tools}).input_tokens > estimated_usage(asked, 0).input_tokens + 1_000


@given(conversations(), st.data())
def test_in_words_every_call_is_followed_by_its_results(messages: list[Message], data: st.DataObject) -> None:
    """Also where replies broke off, or nobody answered their calls: any part of a conversation may be missing."""
    some = [message for message in messages if message.role == "user" or data.draw(st.booleans())]
    sent, left_out = worded(some)
    waiting: list[str] = []
    for message in sent:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
            continue
        assert waiting == []
        waiting = [call["id"] for call in message.get("tool_calls", ())]
        assert message["content"] or waiting
    assert waiting == []
    assert len(sent) + len(left_out) == len(some)


def test_calls_that_nobody_answered_are_taken_off_a_reply_and_its_text_stays() -> None:
    calling = said(1, "assistant", calls=1)
    spoke = Message(
        id="m", session_id="s", role="assistant", content="Wait.", tool_calls=calling.tool_calls, created_at=""
    )
    sent, left_out = worded([said(0, "user"), spoke, said(2, "user"), calling, said(4, "user")])
    assert [(message["role"], message["content"]) for message in sent] == [
        ("user", "x"),
        ("assistant", "Wait."),
        ("user", "x"),
        ("user", "x"),
    ]
    assert left_out == [LeftOut("m", "unanswered_calls"), LeftOut("msg_1", "unanswered_calls")]


def test_no_arguments_are_sent_as_an_empty_object_and_broken_ones_as_they_came() -> None:
    call = ToolCall(id="a", function=FunctionCall(name="f", arguments=""))
    broken = ToolCall(id="b", function=FunctionCall(name="f", arguments='{"x": '))
    reply = Message(id="m", session_id="s", role="assistant", tool_calls=(call, broken), created_at="")
    sent, _ = worded([reply, said(1, "tool", answers="a"), said(2, "tool", answers="b")])
    assert [told["function"]["arguments"] for told in sent[0]["tool_calls"]] == ["{}", '{"x": ']


def test_a_title_is_one_tidy_line() -> None:
    assert tidy('**"Lamps of the Harbour"**\n\nHere is why.') == "Lamps of the Harbour"
    assert tidy("\nTitle: The  Sea.") == "The Sea"
    assert tidy("") == tidy("\n ** \n") == ""
    long = tidy("word " * 40)
    assert len(long) <= LONGEST + 1 and long.endswith("word…")
    assert len(tidy("漢" * 200)) == LONGEST
