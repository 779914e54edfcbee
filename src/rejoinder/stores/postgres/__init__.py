"""The store in Postgres: `store.py` first."""
