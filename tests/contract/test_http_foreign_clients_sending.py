"""Clients in Node that send by themselves, and then outlive a server that is killed: no retry makes a second message."""

import json
import signal
from collections.abc import Callable

import pytest

from serving import ServerProcess
from test_http_foreign_clients import TEXT, check, node_reading, told
from wire import Api, message_id, script, slow

pytestmark = pytest.mark.node


def told_to_send(kind: str, api: Api, sid: str, content: str) -> list[str]:
    """The arguments of `read.mjs`."""
    if kind == "fetch-event-source":
        said = {"id": message_id(), "content": content}
        return [kind, f"{api.url}/v1/sessions/{sid}/messages", json.dumps(said)]
    return [kind, api.url, sid, content]


SENDERS = pytest.mark.parametrize("kind", ["fetch-event-source", "client-send"])


@SENDERS
@pytest.mark.parametrize("content", [TEXT, script("tokens=5 pace=0.02")], ids=["odd characters", "bit by bit"])
def test_it_sends_and_reads_the_whole_turn(api: Api, sid: str, kind: str, content: str) -> None:
    with node_reading(*told_to_send(kind, api, sid, content)) as process:
        seen = told(process)
    [message, reply] = api.all_messages(sid)
    assert message["content"] == content
    assert seen[0][2]["message"] == message
    check(seen, reply)


@SENDERS
def test_it_outlives_a_server_that_is_killed(start_process: Callable[..., ServerProcess], kind: str) -> None:
    """Microsoft's sends the POST again, with the id of the last event; ours asks for the rest. Both get the rest."""
    server = start_process(heartbeat=0.1)
    sid = server.api.session()
    with node_reading(*told_to_send(kind, server.api, sid, slow())) as process:
        seen = told(process, until=lambda event: event[2].get("offset", 0) > 50)
        server.signal(signal.SIGKILL)
        server.ended()
        server.start()
        seen += told(process)
    messages = server.api.all_messages(sid)
    assert [message["role"] for message in messages] == ["user", "assistant"], "sent twice, made once"
    assert (messages[1]["status"], messages[1]["error"]["code"]) == ("interrupted", "server_restarted")
    check(seen, messages[1])


def test_the_page_client_stops_a_reply_and_reads_to_its_end(api: Api, sid: str) -> None:
    with node_reading("client-stop", api.url, sid, slow()) as process:
        seen = told(process)
        assert process.wait(20) == 0
    reply = api.all_messages(sid)[1]
    assert reply["status"] == "stopped" and reply["content"]
    assert "message.stopping" in [kind for _, kind, _ in seen]
    check(seen, reply)


def test_the_page_client_reads_a_session(api: Api, sid: str) -> None:
    reply = api.send_async(sid, slow(50, 0.005))["reply"]
    with node_reading("client-session", api.url, sid) as process:
        seen = told(process)
    assert seen[0][1] == "session.created"
    check(seen, api.message(sid, reply["id"]))
