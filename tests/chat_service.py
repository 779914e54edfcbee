"""The service without HTTP, over a store of the test's own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from rejoinder.abc import Append, AppendResult, Lease, Provider, Store
from rejoinder.api import app
from rejoinder.chat.models import Models
from rejoinder.chat.service import Chat
from rejoinder.errors import StoreUnavailable
from rejoinder.settings import Settings
from rejoinder.signals.local import LocalSignals


@asynccontextmanager
async def chat_over(store: Store, provider: Provider | None = None, **settings: Any) -> AsyncIterator[Chat]:
    """With the models of the settings, or those of a provider."""
    wanted = {"store": "memory:", "model": "scripted:echo", "title_model": "off", "_env_file": None} | settings
    rules = Settings(**wanted)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(store)
        signals = await stack.enter_async_context(LocalSignals())
        if provider is None:
            models = await app._open_models(stack, rules)
        else:
            models = Models([f"{provider.name}:{name}" for name in await provider.models()], {provider.name: provider})
        yield await stack.enter_async_context(Chat(store, signals, models, app._rules(rules)))


class Switch:
    """Whether a store takes what is appended."""

    def __init__(self, store: Store) -> None:
        self.away = False
        self._append = store.append
        store.append = self._tried  # type: ignore[method-assign]

    async def _tried(
        self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
    ) -> list[AppendResult]:
        if self.away:
            raise StoreUnavailable("The disk is full.")
        return await self._append(lease, number, appends, acknowledged=acknowledged)
