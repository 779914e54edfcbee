"""Providers: what answers. One file each; `open_provider` makes the one that a model's name means."""

from rejoinder.abc import Provider
from rejoinder.errors import Misconfigured
from rejoinder.settings import Settings


def open_provider(name: str, settings: Settings) -> Provider:
    """The provider of a model (`openai:NAME`, `openai`, `local`, `scripted:SCRIPT`), for its `async with` to open.

    What stands behind the colon is its default model. Its code is loaded only now. Raises Misconfigured.
    """
    prefix, _, model = name.partition(":")
    match prefix:
        case "openai":
            return _openai(model, settings)
        case "local":
            from rejoinder.llm.local import LocalProvider

            return LocalProvider(threads=settings.local_threads)
        case "scripted":
            from rejoinder.llm.scripted import ScriptedProvider

            return ScriptedProvider(model)
    raise Misconfigured(
        f"There is no model {name!r}: REJOINDER_MODEL takes `openai:NAME`, `local` or `scripted:SCRIPT`, "
        "the default first and further ones after commas."
    )


def _openai(model: str, settings: Settings) -> Provider:
    from rejoinder.llm.openai import OpenAIProvider
    from rejoinder.llm.openai_request import configured

    return OpenAIProvider(
        *configured(settings), settings.openai_organization, model, connect_timeout=settings.connect_timeout
    )
