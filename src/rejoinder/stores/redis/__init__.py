"""The store in Redis: `store.py` first."""
