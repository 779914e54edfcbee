"""The language of scripts: what a scripted model, or the scripted upstream, says, how fast, and where it fails.

A script is a few words, `name=value` or a bare name, separated by spaces, commas or `+`. It stands in the model's name
(`scripted:tokens=200+pace=0.02`) and in the first line of the user's last message (`/script tokens=200 fail=reset@50`),
which wins word by word; what follows that line is the message proper. What a model says is a function of the two alone.

    what     echo (default: the message proper, or what tools returned) · story · slow (the story at 20 tokens a second)
             · tokens=N (`t0 t1 t2 …`) · big=N (one token of N characters) · reasoning=N (`r0 r1 …` before it) · calls=N
    pace     pace=SECONDS between tokens · first=SECONDS before the first · burst=N tokens at once
    end      finish=REASON · usage=no
    window   window=N: a prompt of more than N words is refused as too long
    fault    fail=WHAT@N after N tokens (default 0); WHAT is an HTTP status (only @0), `reset`, `close`, `eof`,
             `error`, `malformed`, `stall`, or a code of errors (`upstream_rate_limited`)
             · stall@N = fail=stall@N · hang = stall@0 (before any header, as reset@0 and close@0)
             · times=N: only the first N times that this prompt is asked · retry_after=SECONDS, retry_form=date|ms
    wire     how the upstream writes, of no matter elsewhere: headers=SECONDS before them · crlf · cut (inside
             characters) · halves (of surrogate pairs) · null · empty · pings · compact · nodone · whole (no stream)
             · noindex (of tool calls) · refusal · field=NAME (of the reasoning)

No word of it reads a file or reaches out. `scripted_answer` tells what a script says to a conversation.
"""

import re
from collections.abc import Callable

from msgspec import Struct, structs

from rejoinder.entities import JsonObject

MARK = "/script"
BUILT_IN = ("echo", "story", "slow")
WIRE = frozenset(
    ("crlf", "cut", "halves", "null", "empty", "pings", "compact", "nodone", "whole", "noindex", "refusal")
)
FAULTS = frozenset(("reset", "close", "eof", "error", "malformed", "stall"))
CODES = frozenset(
    (
        *("upstream_unavailable", "upstream_auth", "upstream_rate_limited", "upstream_error", "upstream_timeout"),
        *("upstream_stalled", "upstream_malformed", "upstream_incomplete", "content_filtered", "context_overflow"),
    )
)
FOREVER = 1e9
MOST = 10_000_000
"""Tokens or characters of one reply."""


FORMS = f"{', '.join(BUILT_IN)}, or what is to happen in words joined by +, such as tokens=200+pace=0.02+fail=reset@50"
"""What a script may be, for those who wrote something else."""


class Fault(Struct, frozen=True):
    """What goes wrong, after so many tokens of the whole text."""

    what: str
    after: int = 0


class Script(Struct, frozen=True, kw_only=True):
    what: str = "echo"
    count: int = 0
    reasoning: int = 0
    calls: int = 0
    pace: float = 0
    first: float = 0
    burst: int = 1
    finish: str = ""
    usage: bool = True
    fault: Fault | None = None
    window: int = 0
    times: int = 0
    retry_after: float | None = None
    retry_form: str = "seconds"
    headers: float = 0
    field: str = "reasoning_content"
    wire: frozenset[str] = frozenset()

    def due(self, token: int) -> float:
        """Seconds from the beginning at which this token is said."""
        return self.first + self.pace * (token - token % self.burst)


class BadScript(ValueError):
    """A word that the language does not have."""


PLAIN = Script()


def parse(text: str, base: Script = PLAIN) -> Script:
    """The script that `text` makes of `base`. Raises BadScript."""
    for word in re.split(r"[\s,+]+", text.strip()):
        if word:
            base = _with(base, *_split(word))
    return base


def _split(word: str) -> tuple[str, str]:
    if match := re.fullmatch(r"stall@(\d+)", word):
        return "fail", f"stall@{match[1]}"
    if word == "hang":
        return "fail", "stall"
    name, _, value = word.partition("=")
    return name, value


def _with(script: Script, name: str, value: str) -> Script:
    try:
        changes = _WORDS[name](value) if name in _WORDS else _bare(name, value, script)
    except (ValueError, KeyError):
        raise BadScript(f"A script has no word {(f'{name}={value}' if value else name)[:60]!r}.") from None
    return structs.replace(script, **changes)


def _bare(name: str, value: str, script: Script) -> JsonObject:
    if value:
        raise ValueError
    if name == "slow":
        return {"what": "story", "pace": 0.05}
    if name in BUILT_IN:
        return {"what": name}
    if name in WIRE:
        return {"wire": script.wire | {name}}
    raise ValueError


def _count(value: str) -> int:
    number = int(value)
    if not 0 <= number <= MOST:
        raise ValueError
    return number


def _seconds(value: str) -> float:
    number = float(value)
    if not 0 <= number <= FOREVER:  # also false of a NaN
        raise ValueError
    return number


def _word(value: str) -> str:
    if not re.fullmatch(r"\w{1,40}", value):
        raise ValueError
    return value


def _fault(value: str) -> Fault:
    what, _, after = value.partition("@")
    status = what.isdecimal() and 400 <= int(what) <= 599 and not _count(after or "0")
    if not status and what not in FAULTS and what not in CODES:
        raise ValueError
    return Fault(what, _count(after or "0"))


_WORDS: dict[str, Callable[[str], JsonObject]] = {
    "tokens": lambda value: {"what": "tokens", "count": _count(value)},
    "big": lambda value: {"what": "big", "count": _count(value)},
    "reasoning": lambda value: {"reasoning": _count(value)},
    "calls": lambda value: {"calls": _count(value)},
    "pace": lambda value: {"pace": _seconds(value)},
    "first": lambda value: {"first": _seconds(value)},
    "burst": lambda value: {"burst": max(1, _count(value))},
    "finish": lambda value: {"finish": _word(value)},
    "usage": lambda value: {"usage": {"yes": True, "no": False}[value]},
    "fail": lambda value: {"fault": _fault(value)},
    "window": lambda value: {"window": _count(value)},
    "times": lambda value: {"times": _count(value)},
    "retry_after": lambda value: {"retry_after": _seconds(value)},
    "retry_form": lambda value: {"retry_form": {"date": "date", "ms": "ms", "seconds": "seconds"}[value]},
    "headers": lambda value: {"headers": _seconds(value)},
    "field": lambda value: {"field": _word(value)},
}
