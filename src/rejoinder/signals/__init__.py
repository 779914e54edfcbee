"""Wake-ups: within this process, or across all that share a store. Only what is chosen is imported."""

from rejoinder.abc import Signals
from rejoinder.errors import Misconfigured, no_driver


def open_signals(store: str, url: str = "") -> Signals:
    """The signals that go with the store that a URL names, or those that a URL of their own names. Not yet entered.

    Raises Misconfigured, and never repeats what may be a password.
    """
    match (url or store).partition(":")[0]:
        case "postgresql" | "postgres":
            try:
                from rejoinder.signals.postgres import PostgresSignals
            except ModuleNotFoundError as missing:
                raise no_driver("Signals through Postgres need", "postgres") from missing
            return PostgresSignals.from_url(url or store)
        case "redis" | "rediss":
            try:
                from rejoinder.signals.redis import RedisSignals
            except ModuleNotFoundError as missing:
                raise no_driver("Signals through Redis need", "redis") from missing
            return RedisSignals.from_url(url or store)
    if url:
        raise Misconfigured(
            "REJOINDER_SIGNALS is empty, so that the store chooses, or redis://host:port or postgresql://host/database."
        )
    from rejoinder.signals.local import LocalSignals

    return LocalSignals()
