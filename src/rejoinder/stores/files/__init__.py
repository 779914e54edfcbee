"""The store in flat files: `store.py` first."""
