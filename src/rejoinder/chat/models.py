"""Which provider a model's name means: `openai:NAME`, `local`, or a bare name of the default model's provider. And what it is told."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from itertools import starmap

from rejoinder.abc import Provider
from rejoinder.entities import JsonObject
from rejoinder.errors import Invalid, ProviderError, wrong


class Models:
    """`names` are the models that the settings list, the default first; `providers` are by the prefix of a name.

    `prefilling` are names of models, or of providers for all of theirs, that go on from an assistant message; `windows` are
    tokens by such names. `extra_params` are names of parameters that are an upstream's own: `NAME`, or `PROVIDER:NAME` where only
    that one takes it.
    """

    def __init__(
        self,
        names: Sequence[str],
        providers: Mapping[str, Provider],
        prefilling: Collection[str] = (),
        windows: Mapping[str, int] | None = None,
        extra_params: Collection[str] = (),
    ) -> None:
        self.default = names[0]
        self._names = tuple(names)
        self._providers = dict(providers)
        self._prefilling = frozenset(prefilling)
        self._windows = dict(windows or {})
        self._takers: dict[str, set[str]] = {}
        """Of each of those parameters: the providers that take it; "": all of them."""
        for said in extra_params:
            whose, _, extra = said.rpartition(":")
            self._takers.setdefault(extra, set()).add(whose)
        self._learned: dict[str, int] = {}

    def resolve(self, name: str) -> tuple[Provider, str]:
        """The provider and its own name for the model ("": its default). Raises Invalid for a name that means none."""
        prefix, colon, rest = name.partition(":")
        if prefix in self._providers:
            return self._providers[prefix], rest if colon else ""
        provider = self._providers.get(self.default.partition(":")[0])
        if provider is None or not provider.accepts(name):
            raise wrong("body.model", f"There is no model {name!r} here; GET /v1/models lists them.")
        return provider, name

    def check(self, model: str | Sequence[str] | None) -> None:
        """Raises Invalid where a session or message names a model that there is not."""
        for name in self.listed(model):
            provider, own = self.resolve(name)
            if own and not provider.accepts(own):
                raise wrong("body.model", f"There is no model {name!r} here; GET /v1/models lists them.")

    def known(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that mean a model here."""
        return tuple(name for name in names if self._means_one(name))

    def _means_one(self, name: str) -> bool:
        try:
            self.check(name)
        except Invalid:
            return False
        return True

    def has(self, said: str) -> bool:
        """Whether a setting that names a model, or a provider for all of its models, can mean any here. Says nothing of whether the
        upstream has it."""
        prefix, colon, own = said.partition(":")
        provider = self._providers.get(prefix)
        return provider is not None and (not colon or provider.accepts(own))

    def prefills(self, name: str) -> bool:
        """Whether a reply that broke off can go on with this model: by the settings, or since its provider says so."""
        provider, own = self.resolve(name)
        return bool(self._prefilling.intersection(_names(provider, own))) or provider.prefills(own)

    def window(self, name: str) -> int | None:
        """Tokens that a model takes, prompt and reply together: by the settings, by what it said when it was asked too much, or
        as its provider knows it. None where nobody knows, as of a model that there is not here (any more)."""
        try:
            provider, own = self.resolve(name)
        except Invalid:
            return None
        for known in _names(provider, own):
            if known in self._windows:
                return self._windows[known]
        return self._learned.get(name) or provider.window(own)

    def taken(self, provider: Provider, params: JsonObject) -> JsonObject:
        """The parameters without those that are another provider's own."""
        foreign = self._foreign(provider)
        return {name: value for name, value in params.items() if name not in foreign}

    def extras(self, provider: Provider, params: JsonObject) -> JsonObject:
        """Those that are this provider's own. They hold for titles and summaries as well: some say who may see a text at all."""
        own = self._takers.keys() - self._foreign(provider)
        return {name: value for name, value in params.items() if name in own}

    def _foreign(self, provider: Provider) -> set[str]:
        return {name for name, takers in self._takers.items() if takers.isdisjoint(("", provider.name))}

    def learn_window(self, name: str, tokens: int) -> None:
        """A model has said how much it takes. Forgotten with the process: it may be another model by then."""
        self._learned[name] = tokens

    def listed(self, model: str | Sequence[str] | None) -> tuple[str, ...]:
        """A model as a session names it, as names in order of preference."""
        if not model:
            return (self.default,)
        return (model,) if isinstance(model, str) else tuple(model)

    async def available(self) -> list[str]:
        """What a session may name, the default first. An upstream that does not answer leaves its configured names."""
        found = dict.fromkeys(self._names)
        for listed in await asyncio.gather(*starmap(_listed, self._providers.items())):
            found |= dict.fromkeys(listed)
        return list(found)


async def _listed(prefix: str, provider: Provider) -> list[str]:
    try:
        return [f"{prefix}:{name}" for name in await provider.models()]
    except ProviderError:
        return []


def _names(provider: Provider, own: str) -> tuple[str, str]:
    """By which a setting may mean a model, the narrower first."""
    return f"{provider.name}:{own}", provider.name
