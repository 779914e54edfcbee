"""Wake-ups: within this process, or across all that share a store."""

from rejoinder.abc import Signals


def open_signals(url: str) -> Signals:
    """The signals that go with the store (or the service of their own) that a URL names, not yet entered."""
    match url.partition(":")[0]:
        case "postgresql" | "postgres":
            from rejoinder.signals.postgres import PostgresSignals

            return PostgresSignals.from_url(url)
    from rejoinder.signals.local import LocalSignals

    return LocalSignals()
