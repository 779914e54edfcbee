"""What the local model is asked in place of what the caller asked."""

from typing import Any

import pytest

from rejoinder.abc import Prompt
from rejoinder.errors import ProviderError
from rejoinder.llm.local_prompt import MODEL, SAMPLING, SYSTEM_PROMPT, as_asked

USER = {"role": "user", "content": "hi"}
OURS = {"role": "system", "content": SYSTEM_PROMPT}


def sent(*messages: dict[str, Any], model: str = "", **params: Any) -> Prompt:
    return as_asked(Prompt(model=model, messages=messages, params=params))


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_prompt_is_added_only_where_there_is_none(role: str) -> None:
    assert sent(USER).messages == (OURS, USER)
    theirs = {"role": role, "content": "Be brief."}
    assert sent(theirs, USER).messages == (theirs, USER)


def test_sampling_has_defaults_that_the_caller_may_change() -> None:
    assert sent(USER).params == SAMPLING
    assert sent(USER, temperature=0, top_p=None).params == {**SAMPLING, "temperature": 0}


def test_a_limit_under_its_other_name_replaces_the_default() -> None:
    assert sent(USER, max_completion_tokens=7).params == {"temperature": 0.2, "min_p": 0.1, "max_completion_tokens": 7}


def test_what_the_engine_would_answer_to_in_its_own_way_is_left_out() -> None:
    assert sent(USER, n=2, logprobs=True, user="u", seed=1).params == {**SAMPLING, "seed": 1}


def test_an_empty_prefill_is_left_out_and_another_is_kept() -> None:
    prefill = {"role": "assistant", "content": "Once "}
    assert sent(USER, {"role": "assistant", "content": ""}).messages == (OURS, USER)
    assert sent(USER, prefill).messages == (OURS, USER, prefill)


@pytest.mark.parametrize("name", ["", MODEL])
def test_it_has_one_model(name: str) -> None:
    assert sent(USER, model=name).model == MODEL
    with pytest.raises(ProviderError) as caught:
        sent(USER, model="gpt-5")
    assert caught.value.code == "upstream_unavailable"


def test_it_reads_text_only() -> None:
    text = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}
    assert sent(text).messages == (OURS, text)
    with pytest.raises(ProviderError, match="text only"):
        sent(text, image)


def test_a_prompt_that_was_prepared_is_sent_as_it_is() -> None:
    prepared = sent(USER, {"role": "assistant", "content": ""}, temperature=1, n=2)
    assert as_asked(prepared) == prepared
