"""Rejoinder: a chat service in which a reply cannot be lost."""

__version__ = "0.1.0"
