"""What the models of the official API take, in tokens, prompt and reply together (its model pages, read in November 2026).

Only names that mean the same everywhere. Other servers say how much they take when they are asked too much, and
`REJOINDER_CONTEXT_WINDOWS` says it of any.
"""

from functools import lru_cache

WINDOWS = {
    "gpt-5.6": 1_050_000,
    "gpt-5.5": 1_050_000,
    "gpt-5": 400_000,
    "gpt-4.1": 1_047_576,
    "gpt-4o": 128_000,
    "gpt-4-turbo": 128_000,
    "gpt-4": 8_192,
    "gpt-3.5-turbo": 16_385,
    "o4-mini": 200_000,
    "o3": 200_000,
    "o1": 200_000,
}
"""By the beginning of a name; the longest that fits counts."""


@lru_cache
def known_window(model: str) -> int | None:
    """Of a model by its own name, or by that of a dated version or a size of it: `gpt-4o-mini-2024-07-18`."""
    fitting = [name for name in WINDOWS if model == name or model.startswith(f"{name}-")]
    return WINDOWS[max(fitting, key=len)] if fitting else None
