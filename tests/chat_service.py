"""The service without HTTP, over a store of the test's own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from rejoinder.abc import Store
from rejoinder.api import app
from rejoinder.chat.service import Chat
from rejoinder.settings import Settings
from rejoinder.signals.local import LocalSignals


@asynccontextmanager
async def chat_over(store: Store, **settings: Any) -> AsyncIterator[Chat]:
    wanted = {"store": "memory:", "model": "scripted:echo", "title_model": "off", "_env_file": None} | settings
    rules = Settings(**wanted)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(store)
        signals = await stack.enter_async_context(LocalSignals())
        models = await app._open_models(stack, rules)
        yield await stack.enter_async_context(Chat(store, signals, models, app._rules(rules)))
