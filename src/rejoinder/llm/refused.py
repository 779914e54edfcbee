"""What upstreams have refused of a request that is usual elsewhere: learned from what they say, by model.

An upstream says what it refuses in words of its own, and may repeat the prompt among them. So a sign teaches only where nobody
can have written it into the prompt: else what one user says would change how all others are asked.
"""

import re

import msgspec
from msgspec import Struct, structs

from rejoinder.abc import REASONING, REASONING_DETAILS, Prompt
from rejoinder.errors import ProviderError

REMEMBERED = 1_000
"""Models of one upstream at most, since clients name them. Of one that is forgotten it is learned again, at the price of an attempt."""

EXTRAS = "extra_content"
"""A field of tool calls that belongs to the upstream that made them."""
OUR_FIELDS = (REASONING, REASONING_DETAILS, EXTRAS)
"""Names that stand in a prompt without anybody having said them."""


class Refused(Struct, frozen=True):
    """What a model is asked without."""

    usage: bool = False
    """`stream_options`, by which usage is asked for."""
    turns: bool = False
    """Users and assistants that do not take turns: the templates of some models have it so (Gemma's, Mistral's)."""
    bridges: bool = False
    """The user right behind the results of tools, where the reply to them had said nothing (Mistral)."""
    system: bool = False
    """Messages of the system: the user's first one begins with them (Gemma's template, and Gemini's endpoint for Gemma)."""
    max_tokens: bool = False
    """`max_tokens`, which is `max_completion_tokens` then (OpenAI's models since o1)."""
    max_completion_tokens: bool = False
    """The other way round (Mistral, older vLLM)."""
    blank: bool = False
    """Tool calls beside a text of nothing: `content` is null then, which others refuse (Bedrock, MiniMax; Ollama)."""
    reasoning: bool = False
    """Replies without their reasoning, where some of them call tools (DeepSeek's and Kimi's thinking modes)."""
    extras: bool = False
    """`extra_content` of tool calls, which another upstream has made."""
    details: bool = False
    """`reasoning_details` of replies, which another upstream has made."""
    signatures: bool = False
    """Tool calls without a thought signature, since they are another's (Gemini's)."""
    ids: bool = False
    """Ids of tool calls as another upstream has made them: Mistral's have nine letters and digits, OpenAI's at most 40 characters,
    Anthropic's no dots and colons."""


_STRANGE = r"(?:unknown|unrecogni[sz]ed|unexpected|unsupported|extra|additional|not (?:permitted|allowed|supported))"
_SIGNS = {
    form: re.compile(sign, re.IGNORECASE)
    for form, sign in {
        "usage": "(stream_options)",
        "turns": r"\b(roles? must alternate)|(alternating (?:user|roles))|(after the (?:optional )?system message).*alternat",
        "bridges": r"(unexpected role 'user' after role 'tool')",
        "system": r"(system role (?:is )?not supported|(?:doesn't|does not) support (?:the )?'?system\b)"
        r"|(developer instruction is not enabled)",
        "max_tokens": r"max_tokens\b.*(use .?max_completion_tokens)",
        # Within a sentence: one that refuses `max_tokens` names the other in its next.
        "max_completion_tokens": rf"(max_completion_tokens)[^.]{{0,80}}{_STRANGE}|{_STRANGE}[^.]{{0,80}}(max_completion_tokens)",
        "blank": r"(text content blocks must be non-empty)|(text field in the contentblock object) at [\w.]+ is blank"
        r"|(chat content is empty)",
        "reasoning": rf"({REASONING})\W.{{0,80}}(?:must be (?:passed|sent|provided)|is missing)|missing .?({REASONING})",
        "extras": f"({EXTRAS})",
        "details": rf"{_STRANGE}.{{0,80}}({REASONING_DETAILS})|({REASONING_DETAILS}).{{0,80}}{_STRANGE}",
        "signatures": r"missing (?:a |the )?`?(thought_?signature)",
        "ids": r"(tool call ids? (?:was|should be)) .*(?:length (?:of )?9\b|…)|(tool_use\.id)\b.{0,80}should match"
        r"|tool_call(?:_id|s\[\d+\]\.id)\W+string too long\W+(expected a string with maximum length)",
    }.items()
}
"""By the field of `Refused`. The group of a sign is what makes it one."""


class Refusals:
    """Of one upstream, which may serve many models."""

    def __init__(self) -> None:
        self._by_model: dict[str, Refused] = {}

    def of(self, model: str) -> Refused:
        return self._by_model.get(model) or Refused()

    def learn(self, error: ProviderError, prompt: Prompt) -> bool:
        """Whether an error told something new of the prompt's model, so that the request can be made again in another form."""
        known = self.of(prompt.model)
        told = _new_signs(error, known)
        said = _said(prompt) if told else ""
        forms = [form for form, sign in told.items() if sign.lower() not in said]
        if forms:
            self._by_model.pop(prompt.model, None)
            self._by_model[prompt.model] = structs.replace(known, **dict.fromkeys(forms, True))
            if len(self._by_model) > REMEMBERED:
                del self._by_model[next(iter(self._by_model))]
        return bool(forms)


def _new_signs(error: ProviderError, known: Refused) -> dict[str, str]:
    """What in an error tells of a form that was not known to be refused."""
    if not (error.refused or error.before_reply):
        return {}
    found = {form: sign.search(error.detail) for form, sign in _SIGNS.items() if not getattr(known, form)}
    return {form: match[match.lastindex or 0] for form, match in found.items() if match}


def _said(prompt: Prompt) -> str:
    """All that anybody has said in a prompt, in small letters: its JSON without the names that are ours, and those of parameters."""
    messages = msgspec.json.encode(prompt.messages).decode()
    for field in OUR_FIELDS:
        messages = messages.replace(f'"{field}":', "")  # within a text its quotes would be escaped
    return (messages + msgspec.json.encode(list(prompt.params.values())).decode()).lower()
