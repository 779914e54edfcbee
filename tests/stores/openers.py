"""The stores that the suite is run over: every kind that there is. The suite does not know which it has."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from rejoinder.abc import Store
from rejoinder.stores import open_store
from store_urls import LASTING, STORE_URLS

Opener: TypeAlias = Callable[[], Store]
"""Gives a store, not yet entered, at one and the same place each time; nothing else uses that place."""


def opener_of(kind: str, folder: Path) -> Opener:
    url = STORE_URLS[kind](folder)
    if kind in LASTING:
        return lambda: open_store(url)
    store = open_store(url)  # what does not last is a place as long as its store lives
    return lambda: store
