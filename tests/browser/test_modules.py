"""The page's modules that others copy: the client and the fold, and Chromium's own EventSource beside them."""

import re
from typing import Any

import pytest
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
    let left = 3_000 + 3_000 * Math.random();
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
    read = chat.page.evaluate(SEND_OVER_A_BAD_LINE, [sid, "/script story pace=0.02"])
    message, reply = server.messages(sid)
    assert read["text"] == reply["content"]
    assert (message["role"], reply["status"]) == ("user", "completed")
    assert read["cut"] >= 2


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


KEEP_TO_THE_RULES = """
async () => {
  const { Client, newId } = await import("/page/client.js");
  const frame = (seq, type, data, end = "\\n") =>
    [`event: ${type}`, `data: ${JSON.stringify({ seq, ...data })}`, `id: ${seq}`, "", ""].join(end);
  const delta = (seq, offset, text, end) =>
    frame(seq, "message.delta", { message_id: "m", part: "content", offset, text }, end);
  const stream = (...frames) => new Response(frames.join(""), { headers: { "content-type": "text/event-stream" } });
  const no = (status, after) => Response.json({ code: "no" }, { status, headers: after ? { "retry-after": after } : {} });
  const playing = (...answers) => {
    const asked = [];
    const play = async (url, { method, headers, body }) => {
      asked.push({ method, body, at: performance.now(), cursor: headers["last-event-id"] ?? null });
      return answers[asked.length - 1]();
    };
    return [new Client("", { fetch: play }), asked];
  };
  const read = async (events) => {
    const seen = [];
    try {
      for await (const event of events) seen.push(event.seq);
    } catch (error) {
      seen.push(error.name === "Problem" ? error.status : error.constructor.name);
    }
    return seen;
  };
  const ended = (seq) => frame(seq, "message.ended", { message: { id: "m" } });
  const run = async (answers, start) => {
    const [client, asked] = playing(...answers);
    const seen = await read(start(client));
    return { seen, asked };
  };
  const follow = (client) => client.follow("ses", { reply: "m", after: 1 });
  const soon = new Date(Date.now() + 3000).toUTCString();
  const [cut, late, dated, clear, gap, twice, crlf, over, hidden] = await Promise.all([
    run([() => stream(delta(2, 0, "a")), () => stream(delta(3, 1, "b"), ended(4))], follow),
    run([() => no(503, "2"), () => stream(ended(4))], follow),
    run([() => no(429, soon), () => stream(ended(4))], follow),
    run([() => no(404)], follow),
    run([() => stream(delta(2, 0, "a"), delta(3, 2, "c"))], follow),
    run([() => stream(delta(2, 0, "💡"), delta(2, 0, "💡"))], follow),
    run([() => stream(delta(2, 0, "a", "\\r\\n"), ended(4))], follow),
    run([() => new Response(null, { status: 204 })], follow),
    run([() => stream(delta(2, 0, "a")), () => stream(ended(4))], (client) => client.send("ses", "hello", { id: "msg_1" })),
  ]);
  const wait = ({ asked: [one, two] }) => two.at - one.at;
  return {
    seen: [cut, late, dated, clear, gap, twice, crlf, over, hidden].map(({ seen }) => seen),
    cursors: cut.asked.map(({ cursor }) => cursor),
    waits: [wait(late), wait(dated)],
    posts: hidden.asked.map(({ method, body, cursor }) => [method, JSON.parse(body).id, cursor]),
  };
}
"""


def test_the_client_keeps_to_the_rules_of_the_wire(chat: Chat) -> None:
    told = chat.page.evaluate(KEEP_TO_THE_RULES)
    cut, late, dated, clear, gap, twice, crlf, over, hidden = told["seen"]
    assert cut == [2, 3, 4]  # a clean end without `message.ended` is a cut …
    assert told["cursors"] == ["1", "2"]  # … behind which it reads on
    assert late == dated == [4]
    assert told["waits"][0] >= 1990  # Retry-After in seconds
    assert told["waits"][1] >= 1000  # … and as a date, which knows no fractions
    assert clear == [404]  # asked once: a second answer was not there
    assert gap == twice == [2, "BrokenStream"]
    assert crlf == [2, 4]
    assert over == []
    # A browser that may not see Location asks again by the same POST, behind what it has.
    assert (hidden, told["posts"]) == ([2, 4], [["POST", "msg_1", None], ["POST", "msg_1", "2"]])


@pytest.mark.parametrize(
    ("base", "asked"),
    [
        ("", "/v1/models"),
        ("/", "/v1/models"),
        ("http://chat.example", "http://chat.example/v1/models"),
        ("http://chat.example//", "http://chat.example/v1/models"),
        ("http://chat.example/under/", "http://chat.example/under/v1/models"),
    ],
)
def test_the_client_takes_an_address_with_slashes_behind_it(chat: Chat, base: str, asked: str) -> None:
    url = chat.page.evaluate(
        """async (base) => {
          const { Client } = await import("/page/client.js");
          let asked;
          await new Client(base, { fetch: async (url) => ((asked = url), Response.json({})) }).request("GET", "/v1/models");
          return asked;
        }""",
        base,
    )
    assert url == asked


def test_an_event_source_resumes_and_stops_at_the_end(chat: Chat, server: Server) -> None:
    chat.say("/script tokens=1000 pace=0.02")
    chat.expect_writing("t3")
    reply = server.reply(chat.session)
    chat.page.evaluate(READ_WITH_EVENT_SOURCE, f"/v1/sessions/{chat.session}/messages/{reply['id']}/events")
    chat.wait_until("seen.text.length > 50")
    server.kill()
    server.start()
    # It comes back by itself, hears the end, comes back once more and is told that there is nothing else.
    chat.wait_until("source.readyState === EventSource.CLOSED")
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
    chat.wait_until("source.readyState === EventSource.CLOSED")
    seen = chat.page.evaluate("seen")
    assert seen["text"] == server.reply(sid)["content"]
    assert len(seen["ended"]) == 1
