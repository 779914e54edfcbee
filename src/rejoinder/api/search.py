"""The route that searches all messages of an owner."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from rejoinder.api import limits
from rejoinder.api.dependencies import OWNER, AppSettings, ChatService
from rejoinder.api.responses import answers, json_answer, problems
from rejoinder.chat.search import LONGEST, SearchAnswer

HITS = 20
"""Messages that are told where no number is asked for."""

QUESTION = f"Words, 1 to {LONGEST} characters: each must be the beginning of a word, whatever its case and accents."

router = APIRouter(tags=["search"])


@router.get("/v1/search", responses=answers(SearchAnswer, "What was found, the latest first.") | problems(422, 503))
async def search_messages(
    chat: ChatService,
    settings: AppSettings,
    q: Annotated[str, Query(description=QUESTION)],
    limit: Annotated[int | None, Query(description=f"Messages that are told at most, by default {HITS}.")] = None,
) -> Response:
    """Find messages by their words, on all branches of all sessions. What is still being written is not found yet."""
    size = min(HITS, settings.max_page) if limit is None else limits.page_size(limit, settings)
    return json_answer(await chat.search.find(OWNER, q, size))
