"""A chat relay as most people would write it: FastAPI, the SDK's stream, sse-starlette. It keeps nothing.

Not written to be slow: each line is what the documentation of its library shows first.
"""

import json
from collections.abc import AsyncIterator

from fastapi import FastAPI
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionUserMessageParam
from pydantic import BaseModel
from sse_starlette import EventSourceResponse

app = FastAPI()
client = AsyncOpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY


class Ask(BaseModel):
    messages: list[ChatCompletionUserMessageParam]


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/chat")
async def chat(ask: Ask) -> EventSourceResponse:
    async def events() -> AsyncIterator[dict[str, str]]:
        stream = await client.chat.completions.create(model="benched", messages=ask.messages, stream=True)
        async for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield {"event": "token", "data": json.dumps({"text": text})}
        yield {"event": "done", "data": "{}"}

    return EventSourceResponse(events())
