"""Rejoinder: a chat service in which a reply cannot be lost.

`rejoinder.ask("…")` prompts a model from a script, without a server.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rejoinder.llm.ask import ask as ask

__version__ = "0.1.0"
__all__ = ["__version__", "ask"]


def __getattr__(name: str) -> Any:
    if name == "ask":  # loaded when it is first asked for: whoever wants the version need not wait for a provider
        from rejoinder.llm.ask import ask

        return ask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
