"""The store in one SQLite file: `store.py` first."""
