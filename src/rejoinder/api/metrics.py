"""Figures for Prometheus, read off the wakes: whatever was committed is counted, once, where it was committed."""

from collections import Counter as CountOf
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from rejoinder.abc import Wake
from rejoinder.events import MessageEnded, fact


class Metrics:
    """Has a registry of its own, so that several apps in one process do not share their figures."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._events = Counter("rejoinder_events", "Events committed.", ["type"], registry=registry)
        self._counted: dict[tuple[Counter, tuple[str, ...]], int] = {}
        """By figure and labels, what is still to be added: a token costs an addition, and no lock."""
        self._ended = Counter("rejoinder_replies_ended", "Replies ended.", ["status", "error"], registry=registry)
        self._tokens = Counter(
            "rejoinder_tokens", "Tokens of ended replies.", ["direction", "source"], registry=registry
        )
        self._characters = Counter("rejoinder_reply_characters", "Code points of replies.", registry=registry)
        self._live = Gauge("rejoinder_live_replies", "Replies that are being written here.", registry=registry)
        self._streams = Gauge("rejoinder_open_streams", "Streams that are being read here.", registry=registry)

    def on_wakes(self, wakes: Sequence[Wake]) -> None:
        # What was committed elsewhere is counted there.
        here = [wake for wake in wakes if not wake.elsewhere]
        for kind, number in CountOf(event.type for wake in here for event in wake.events).items():
            self._count(self._events, kind, number=number)
        for wake in here:
            if not _is_copy(wake):
                for event in wake.events:
                    if event.type == "message.ended" and isinstance(said := fact(event), MessageEnded):
                        self._count_end(said)

    def text(self, *, live_replies: int, open_streams: int) -> tuple[bytes, str]:
        """The figures, and their media type."""
        counted, self._counted = self._counted, {}
        for (figure, labels), number in counted.items():
            (figure.labels(*labels) if labels else figure).inc(number)
        self._live.set(live_replies)
        self._streams.set(open_streams)
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _count_end(self, said: MessageEnded) -> None:
        message = said.message
        self._count(self._ended, message.status, message.error.code if message.error else "")
        self._count(self._characters, number=len(message.content))
        if message.usage is not None:
            self._count(self._tokens, "input", message.usage.source, number=message.usage.input_tokens)
            self._count(self._tokens, "output", message.usage.source, number=message.usage.output_tokens)

    def _count(self, figure: Counter, *labels: str, number: int = 1) -> None:
        self._counted[figure, labels] = self._counted.get((figure, labels), 0) + number


def _is_copy(wake: Wake) -> bool:
    """Whether a session was made with all that was said in it, by a fork or out of a file: where its replies were written they were
    counted, and how they ended a file may call what it likes."""
    return bool(wake.events) and wake.events[0].type == "session.created"
