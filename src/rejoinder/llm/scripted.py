"""A model that plays a script (`script` has the language): for tests, demos and benchmarks, without any upstream."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Self

from msgspec import structs

from rejoinder.abc import Chunk, ChunkStream, Completion, Prompt, Provider, TextChunk
from rejoinder.errors import Misconfigured, ProviderError, quoted
from rejoinder.llm.completions import completion_of
from rejoinder.llm.openai_request import request_body
from rejoinder.llm.script import BUILT_IN, CODES, FORMS, BadScript, Fault, Script, parse
from rejoinder.llm.scripted_answer import Answer, answer_to, overflow
from rejoinder.llm.upstream_errors import error_from_body

MEANING = {
    "reset": "upstream_incomplete",
    "close": "upstream_incomplete",
    "eof": "upstream_incomplete",
    "error": "upstream_error",
    "malformed": "upstream_malformed",
}
"""The code by which a fault on the wire is known."""


READ = 16 << 10
"""Code points with which a read is full."""


class ScriptedProvider(Provider):
    """`default` is the script of prompts that name none. Raises Misconfigured where it is not one."""

    name = "scripted"

    def __init__(self, default: str = "") -> None:
        try:
            parse(default)
        except BadScript as wrong:
            raise Misconfigured(f"There is no script {quoted(default)}. {wrong} It is {FORMS}.") from wrong
        self._default = default
        self._asked: Counter[tuple[str, str]] = Counter()
        """How often prompts whose fault happens only some times were asked."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def prepare(self, prompt: Prompt) -> Prompt:
        return structs.replace(prompt, model=prompt.model or self._default)

    def body(self, prompt: Prompt) -> bytes:
        """As a Chat Completions API would be asked, though nobody is."""
        return request_body(prompt, prompt.model, stream=True)

    def prefills(self, model: str) -> bool:
        return True

    def stream(self, prompt: Prompt) -> ChunkStream:
        return ChunkStream(self._play(prompt))

    async def complete(self, prompt: Prompt) -> Completion:
        async with aclosing(self.stream(prompt)) as reads:
            return completion_of([chunk async for chunks in reads for chunk in chunks])

    async def models(self) -> list[str]:
        return list(dict.fromkeys((self._default or BUILT_IN[0], *BUILT_IN)))

    def window(self, model: str) -> int | None:
        try:
            return parse(model or self._default).window or None
        except BadScript:
            return None

    def accepts(self, model: str) -> bool:
        try:
            parse(model)
        except BadScript:
            return False
        return True

    async def _play(self, prompt: Prompt) -> AsyncGenerator[Sequence[Chunk], None]:
        answer = self._answer(prompt)
        script = answer.script
        if answer.too_long:
            raise error_from_body(400, overflow(answer))
        fault_after = answer.fault_after() if self._fails(prompt, script) else None
        now = asyncio.get_running_loop().time
        began = now()
        gathered: list[Chunk] = []
        size = 0
        for said, chunk in enumerate(answer.chunks()):
            due = began + script.due(said)
            if gathered and (said == fault_after or (isinstance(chunk, TextChunk) and (due > now() or size >= READ))):
                yield gathered
                gathered, size = [], 0
            if said == fault_after and script.fault is not None:
                await _fail(script, script.fault)
            if not gathered:
                await _until(due)
            gathered.append(chunk)
            size += len(chunk.text) if isinstance(chunk, TextChunk) else 0
        yield gathered

    def _answer(self, prompt: Prompt) -> Answer:
        try:
            return answer_to(prompt, parse(prompt.model or self._default))
        except BadScript as exc:
            raise ProviderError("upstream_error", str(exc)) from None

    def _fails(self, prompt: Prompt, script: Script) -> bool:
        if not script.times:
            return True
        asked = (prompt.model, repr(prompt.messages))
        self._asked[asked] += 1
        return self._asked[asked] <= script.times


async def _until(due: float) -> None:
    """At least one turn of the event loop, so that a reply without a pace leaves room for others."""
    await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))


async def _fail(script: Script, fault: Fault) -> None:
    if fault.what == "stall":
        await asyncio.Event().wait()
    if fault.what in CODES:
        # The upstream as a whole is scripted here, so that what it would be known by in HTTP is told by the code alone.
        before = fault.after == 0 and fault.what in ("upstream_unavailable", "upstream_rate_limited", "upstream_error")
        raise ProviderError(
            fault.what, f"The script says: {fault.what}.", before_reply=before, retry_after=script.retry_after
        )
    if fault.what in MEANING:
        raise ProviderError(MEANING[fault.what], f"The script says: {fault.what}.")
    raise error_from_body(int(fault.what), b"", retry_after=script.retry_after)
