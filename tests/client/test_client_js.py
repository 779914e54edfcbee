"""The JavaScript client loses nothing on bad days: `tests/node/bad_days.mjs` plays them, once for all of these tests."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import tools

pytestmark = pytest.mark.node

SCENES = Path(__file__).parent.parent / "node" / "bad_days.mjs"
SILENCE = 45_000


@pytest.fixture(scope="module")
def played() -> dict[str, Any]:
    """What came of each scene. Times are in milliseconds."""
    node = tools.needed(tools.node)
    done = subprocess.run([str(node), str(SCENES)], capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def waited(scene: Any) -> float:
    first, second = [asked["at"] for asked in scene["asked"]]
    return float(second - first)


def test_what_is_sent_is_never_redirected_into_another_request(played: dict[str, Any]) -> None:
    *sent, fetched = played["redirected"]
    assert all("was redirected" in each["error"] for each in sent)
    assert fetched == {"method": "GET"}


def test_any_post_that_is_made_again_is_the_same_one(played: dict[str, Any]) -> None:
    first, second = (asked["key"] for asked in played["forked"]["asked"])
    assert first and first == second
    assert [asked["key"] for asked in played["named"]["asked"]] == [None, None]
    assert [asked["key"] for asked in played["keyed"]["asked"]] == ["own", "own"]


def test_what_takes_long_on_a_slow_line_is_not_begun_again(played: dict[str, Any]) -> None:
    assert played["large"]["value"] == {"sent": True}  # 2 MiB on their way for a minute and a half
    assert played["slow"]["value"] == {"data": [1]}  # an answer that comes bit by bit, in two minutes
    assert SILENCE <= waited(played["dead"]) <= SILENCE + 1000


def test_a_stream_without_a_sign_of_life_is_given_up_and_heartbeats_are_one(played: dict[str, Any]) -> None:
    first, second = played["silent"]["times"]
    assert SILENCE <= second - first <= SILENCE + 1000 and played["silent"]["seen"] == [2, 3]
    assert played["beating"]["seen"] == [2, 3] and len(played["beating"]["times"]) == 1


def test_the_longest_reply_is_read_in_packets_without_holding_up_the_page(played: dict[str, Any]) -> None:
    assert played["long"]["seen"] == [2]
    assert played["long"]["took"] < 4000  # 4 MiB; it is a tenth of that, and was more than twice as long


def test_it_comes_back_no_sooner_than_it_is_asked_to(played: dict[str, Any]) -> None:
    assert waited(played["seconds"]) == 7000
    assert waited(played["dated"]) == 7000  # by the clock of the server
    assert waited(played["far"]) > 1e9  # more than a timer can hold
    first, second = played["notNow"]["times"]
    assert second - first == 5000 and played["notNow"]["seen"] == [2]


def test_an_event_that_comes_again_is_not_shown_twice(played: dict[str, Any]) -> None:
    assert played["repeated"]["seen"] == [2, 3, "BrokenStream"]


def test_what_is_no_stream_is_waited_out(played: dict[str, Any]) -> None:
    assert played["portal"]["seen"] == [2, 3]
    assert played["portal"]["states"] == ["What answers is no stream of events.", "open"]


def test_a_log_that_has_lost_what_was_told_is_to_be_fetched_afresh(played: dict[str, Any]) -> None:
    assert played["lostByTheStore"]["seen"] == [2, "BrokenStream"]


def test_no_stream_ends_as_if_all_had_been_told(played: dict[str, Any]) -> None:
    assert played["overBefore"]["seen"] == []
    assert played["overAndNeverTold"]["seen"] == [2, "BrokenStream"]
    assert (played["nothingSent"]["seen"], played["nothingSent"]["asked"]) == ([2, 3], ["POST", "POST"])
    assert (played["nothingFollows"]["seen"], len(played["nothingFollows"]["asked"])) == ([2], 3)


def test_it_reads_on_where_the_reply_is_whatever_proxies_write_before_it(played: dict[str, Any]) -> None:
    assert set(played["located"]) == {"/v1/sessions/s/messages/m/events"}


def test_a_chat_is_gone_where_the_server_says_so_and_no_proxy_in_its_place(played: dict[str, Any]) -> None:
    assert played["phases"] == ["missing", "failed"]
    assert played["deleted"] == ["gone", "gone", "The server answered with 404."]


def test_ids_sort_in_the_order_in_which_they_are_made(played: dict[str, Any]) -> None:
    """So what waits to be sent is sent in its order after a reload, whatever the clock did."""
    assert played["ids"] == {"sorted": True, "different": 51, "form": True}


def test_an_address_or_a_header_that_can_never_be_is_told_at_once(played: dict[str, Any]) -> None:
    assert played["header"] == "TypeError"
    assert played["addresses"] == ["http://a", "HTTPS://a/b", "", "/under"]
