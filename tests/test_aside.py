"""What the service asks for itself: an answer of a bounded length, in which thoughts do not count."""

from collections.abc import AsyncGenerator, Sequence
from types import SimpleNamespace
from typing import Any

from rejoinder.abc import Chunk, ChunkStream, Prompt, TextChunk
from rejoinder.chat.aside import THINKING, answer_aside


class Saying:
    """A model that says these pieces, the first of them as thoughts; `said` counts those that were read."""

    def __init__(self, *pieces: str, thoughts: int = 0) -> None:
        self._pieces = pieces
        self._thoughts = thoughts
        self.said = 0

    async def prepare(self, prompt: Prompt) -> Prompt:
        return prompt

    def stream(self, prompt: Prompt) -> ChunkStream:
        async def reads() -> AsyncGenerator[Sequence[Chunk], None]:
            for piece in self._pieces:
                self.said += 1
                yield [TextChunk("reasoning" if self.said <= self._thoughts else "content", piece)]

        return ChunkStream(reads())


async def answer(model: Saying) -> str:
    models: Any = SimpleNamespace(resolve=lambda name: (model, name), extras=lambda _, params: params)
    return (await answer_aside(models, "m", ({"role": "user", "content": "hi"},), {}, most=20, seconds=5)).text


async def test_it_ends_where_it_is_long_enough() -> None:
    model = Saying(*["word "] * 1_000)
    assert await answer(model) == "word word word word"
    assert model.said == 5


async def test_what_a_model_thinks_is_no_part_of_it() -> None:
    assert await answer(Saying(*["hm "] * 100, "The", " sea", thoughts=100)) == "The sea"


async def test_a_model_that_does_not_stop_thinking_is_stopped() -> None:
    model = Saying(*["hm "] * 10_000, thoughts=10_000)
    assert await answer(model) == ""
    assert model.said < THINKING * 20
