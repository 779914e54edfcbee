"""What the local model is asked in place of what the caller asked, so that a model this small answers sensibly."""

from rejoinder.abc import Prompt
from rejoinder.entities import JsonObject
from rejoinder.errors import ProviderError

MODEL = "smollm2-135m"

SYSTEM_PROMPT = "You are a helpful assistant."
"""Without one the model's own template adds another, under which it answers in French or in circles."""

SAMPLING: JsonObject = {"temperature": 0.2, "min_p": 0.1, "max_tokens": 512}
"""What it needs where the caller says nothing: warmer it rambles, and it may never end by itself."""

PASSED_ON = frozenset(
    [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
    ]
)
"""The params that llama.cpp acts on. Others it ignores, or answers to in ways that nobody reads (`n`, `logprobs`)."""


def as_asked(prompt: Prompt) -> Prompt:
    """The prompt that is sent. Raises ProviderError where the model cannot take it."""
    if prompt.model not in ("", MODEL):
        raise ProviderError("upstream_unavailable", f"The local model is {MODEL}; there is no other.")
    messages = list(prompt.messages)
    if any(_is_more_than_text(message.get("content")) for message in messages):
        raise ProviderError("upstream_error", "The local model reads text only.")
    if not any(message["role"] in ("system", "developer") for message in messages):
        messages.insert(0, {"role": "system", "content": SYSTEM_PROMPT})
    if messages[-1] == {"role": "assistant", "content": ""}:
        del messages[-1]  # as a prefill it would take away even the line that says whose turn it is
    params = {name: value for name, value in prompt.params.items() if name in PASSED_ON and value is not None}
    limited = "max_completion_tokens" in params
    defaults = {name: value for name, value in SAMPLING.items() if not (name == "max_tokens" and limited)}
    return Prompt(model=MODEL, messages=tuple(messages), params={**defaults, **params})


def _is_more_than_text(content: object) -> bool:
    return isinstance(content, list) and any(part.get("type") != "text" for part in content)
