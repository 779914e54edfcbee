"""A fresh place in each kind of store, for all tests that every one of them has to pass: by itself, and under the whole service."""

from collections.abc import Callable
from pathlib import Path

from postgres_server import databases
from shared_servers import fresh_redis_url

STORE_URLS: dict[str, Callable[[Path], str]] = {
    "memory": lambda _: "memory:",
    "sqlite": lambda folder: f"sqlite:///{folder}/chat.db",
    "files": lambda folder: f"files:///{folder}/chats",
    "postgres": lambda _: databases().new(),
    "redis": lambda _: fresh_redis_url(),
}
"""By the kind of store: from a folder of the test's own to a URL."""

LASTING = tuple(name for name in STORE_URLS if name != "memory")
"""Those whose words outlive a process."""
