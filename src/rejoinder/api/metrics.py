"""Figures for Prometheus, read off the wakes: whatever was committed is counted, once, where it was committed."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from rejoinder.abc import Wake
from rejoinder.events import MessageEnded, fact


class Metrics:
    """Has a registry of its own, so that several apps in one process do not share their figures."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._events = Counter("rejoinder_events", "Events committed.", ["type"], registry=registry)
        self._counted: dict[str, int] = {}
        """By type, what is still to be added to the figure: a token costs an addition, and no lock."""
        self._ended = Counter("rejoinder_replies_ended", "Replies ended.", ["status", "error"], registry=registry)
        self._tokens = Counter(
            "rejoinder_tokens", "Tokens of ended replies.", ["direction", "source"], registry=registry
        )
        self._characters = Counter("rejoinder_reply_characters", "Code points of replies.", registry=registry)
        self._live = Gauge("rejoinder_live_replies", "Replies that are being written here.", registry=registry)
        self._streams = Gauge("rejoinder_open_streams", "Streams that are being read here.", registry=registry)

    def on_wake(self, wake: Wake) -> None:
        if wake.elsewhere:
            return  # it is counted there
        for event in wake.events:
            self._counted[event.type] = self._counted.get(event.type, 0) + 1
            if event.type == "message.ended" and isinstance(said := fact(event), MessageEnded):
                self._count_end(said)

    def text(self, *, live_replies: int, open_streams: int) -> tuple[bytes, str]:
        """The figures, and their media type."""
        counted, self._counted = self._counted, {}
        for kind, number in counted.items():
            self._events.labels(kind).inc(number)
        self._live.set(live_replies)
        self._streams.set(open_streams)
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _count_end(self, said: MessageEnded) -> None:
        message = said.message
        self._ended.labels(message.status, message.error.code if message.error else "").inc()
        self._characters.inc(len(message.content))
        if message.usage is not None:
            self._tokens.labels("input", message.usage.source).inc(message.usage.input_tokens)
            self._tokens.labels("output", message.usage.source).inc(message.usage.output_tokens)
