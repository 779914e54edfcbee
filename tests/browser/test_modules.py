"""The page's modules that others copy: the client and the fold, and Chromium's own EventSource beside them."""

import re
import time
from typing import Any

from playwright.sync_api import expect

from chat_page import Chat
from server_process import Server

FOLLOW_AND_FOLD = """
async ([sid, everything]) => {
  const { Client } = await import("/page/client.js");
  const { fold, newHistory } = await import("/page/fold.js");
  let history = newHistory(null, [], 0);
  let ended = 0;
  for await (const event of new Client().follow(sid, { after: 0 })) {
    history = fold(history, event);
    if (event.type === "message.ended" && ++ended === everything) return history;
  }
}
"""

SEND_OVER_A_BAD_LINE = """
async ([sid, content]) => {
  const { Client } = await import("/page/client.js");
  const answers = { lost: 0, cut: 0 };
  const badly = async (...request) => {
    const response = await fetch(...request);
    if (++answers.lost === 1) throw new TypeError("The answer never came.");
    let left = 2_000 + 6_000 * Math.random();
    const cutting = new TransformStream({
      transform(chunk, out) {
        out.enqueue(chunk.subarray(0, left));
        left -= chunk.length;
        if (left <= 0 && ++answers.cut) out.error(new TypeError("The line broke."));
      },
    });
    const body = response.body?.pipeThrough(cutting);
    return new Response(body, { status: response.status, headers: response.headers });
  };
  let text = "";
  for await (const event of new Client("", { fetch: badly }).send(sid, content)) {
    if (event.type === "message.delta") text += event.data.text;
  }
  return { text, ...answers };
}
"""

READ_WITH_EVENT_SOURCE = """
(url) => {
  const seen = { text: "", ids: [], ended: [], opened: 0 };
  window.seen = seen;
  const source = new EventSource(url);
  window.source = source;
  source.onopen = () => seen.opened++;
  source.addEventListener("message.delta", (event) => {
    const { offset, text } = JSON.parse(event.data);
    if ([...seen.text].length !== offset) throw new Error(`offset ${offset}`);
    seen.text += text;
    seen.ids.push(event.lastEventId);
  });
  source.addEventListener("message.ended", (event) => seen.ended.push(JSON.parse(event.data).message));
}
"""


def test_what_is_folded_is_what_is_fetched(chat: Chat, server: Server) -> None:
    turns = (
        "/script story pace=0.001",
        "/script reasoning=5 calls=3 tokens=20",
        "/script tokens=30 fail=upstream_error@10",
        "/script tokens=10 fail=reset times=1",
    )
    sid = server.session(*turns)
    folded = chat.page.evaluate(FOLLOW_AND_FOLD, [sid, len(turns)])
    assert folded["session"] == server.get(f"/v1/sessions/{sid}")
    assert folded["messages"] == server.get(f"/v1/sessions/{sid}/messages?branch=all")["data"]
    assert (folded["stopping"], folded["sizes"]) == ([], {})


def test_the_client_sends_and_reads_over_a_bad_line(chat: Chat, server: Server) -> None:
    sid = server.session()
    read = chat.page.evaluate(SEND_OVER_A_BAD_LINE, [sid, "/script story pace=0.005"])
    message, reply = server.messages(sid)
    assert read["text"] == reply["content"]
    assert (message["role"], reply["status"]) == ("user", "completed")
    assert read["cut"] > 2


def test_the_client_ends_at_204_and_tells_a_clear_no(chat: Chat, server: Server) -> None:
    sid = server.session("hello")
    reply = server.reply(sid)
    last_seq = server.get(f"/v1/sessions/{sid}")["last_seq"]
    read: dict[str, Any] = chat.page.evaluate(
        """async ([sid, reply, after]) => {
          const { Client, newId } = await import("/page/client.js");
          const events = [];
          for await (const event of new Client().follow(sid, { reply, after })) events.push(event);
          const problem = await new Client().follow(newId("ses")).next().catch((problem) => problem);
          return { events, status: problem.status, code: problem.code };
        }""",
        [sid, reply["id"], last_seq],
    )
    assert read == {"events": [], "status": 404, "code": "session_not_found"}


def test_an_event_source_resumes_and_stops_at_the_end(chat: Chat, server: Server) -> None:
    chat.say("/script tokens=1000 pace=0.02")
    chat.expect_writing("t3")
    reply = server.reply(chat.session)
    chat.page.evaluate(READ_WITH_EVENT_SOURCE, f"/v1/sessions/{chat.session}/messages/{reply['id']}/events")
    wait_until(chat, "seen.text.length > 50")
    server.kill()
    server.start()
    # It comes back by itself, hears the end, comes back once more and is told that there is nothing else.
    wait_until(chat, "source.readyState === EventSource.CLOSED")
    seen = chat.page.evaluate("seen")
    [ended] = seen["ended"]
    assert ended["status"] == "interrupted"
    assert seen["opened"] >= 2
    assert ended["content"].startswith(seen["text"])
    assert len(set(seen["ids"])) == len(seen["ids"])
    expect(chat.end).to_contain_text("Interrupted")


def test_an_event_source_of_a_whole_reply_stops_by_itself(chat: Chat, server: Server) -> None:
    chat.say("/script tokens=50 pace=0.01")
    sid = chat.session
    expect(chat.page).to_have_url(re.compile(sid))
    expect(chat.replies).to_have_count(1)
    reply = server.reply(sid)
    chat.page.evaluate(READ_WITH_EVENT_SOURCE, f"/v1/sessions/{sid}/messages/{reply['id']}/events")
    wait_until(chat, "source.readyState === EventSource.CLOSED")
    seen = chat.page.evaluate("seen")
    assert seen["text"] == server.reply(sid)["content"]
    assert len(seen["ended"]) == 1


def wait_until(chat: Chat, condition: str) -> None:
    """Playwright's own way would evaluate a string in the page, which the page's policy forbids."""
    deadline = time.monotonic() + 20
    while not chat.page.evaluate(condition):
        assert time.monotonic() < deadline, f"never: {condition}"
        chat.page.wait_for_timeout(50)
