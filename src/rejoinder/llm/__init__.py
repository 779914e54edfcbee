"""Providers: what answers. One file each; `open_provider` makes the one that a model's name means."""

from rejoinder.abc import Provider
from rejoinder.errors import Misconfigured
from rejoinder.settings import Settings


def open_provider(name: str, settings: Settings) -> Provider:
    """The provider of a model (`openai:NAME`, `openai`, `local`, `scripted:SCRIPT`, or of a further upstream that the settings
    name), for its `async with` to open.

    What stands behind the colon is its default model. Its code is loaded only now. Raises Misconfigured.
    """
    prefix, _, model = name.partition(":")
    match prefix:
        case "local":
            from rejoinder.llm.local import LocalProvider

            return LocalProvider(threads=settings.local_threads)
        case "scripted":
            from rejoinder.llm.scripted import ScriptedProvider

            return ScriptedProvider(model)
        case _ if settings.is_api(prefix):
            return _openai(prefix, model, settings)
    raise Misconfigured(
        f"There is no model {name!r}: REJOINDER_MODEL takes `openai:NAME`, `local`, `scripted:SCRIPT` or `UPSTREAM:NAME` with one of "
        "REJOINDER_UPSTREAMS, the default first and further ones after commas."
    )


def _openai(name: str, model: str, settings: Settings) -> Provider:
    from rejoinder.llm.openai import OpenAIProvider
    from rejoinder.llm.openai_request import configured

    account = configured(settings, name)
    return OpenAIProvider(
        account.key,
        account.base_url,
        account.organization,
        model,
        name=name,
        connect_timeout=settings.connect_timeout,
    )
