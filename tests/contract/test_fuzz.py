"""What the schema allows and what it forbids, thrown at a real server: no 500, and every answer as the schema says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from strict_sse import StrictReader
from wire import PATIENCE, Api, check_problem

OPERATIONS = [
    *("GET /v1/sessions", "POST /v1/sessions", "GET /v1/sessions/{sid}", "PATCH /v1/sessions/{sid}"),
    *("DELETE /v1/sessions/{sid}", "GET /v1/sessions/{sid}/events", "GET /v1/sessions/{sid}/messages"),
    *("POST /v1/sessions/{sid}/messages", "GET /v1/sessions/{sid}/messages/{mid}"),
    *("GET /v1/sessions/{sid}/messages/{mid}/events", "POST /v1/sessions/{sid}/messages/{mid}/stop"),
    *("GET /v1/models", "GET /healthz", "GET /readyz", "GET /metrics"),
]
CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance),
]
FORBIDS = [
    *("GET /v1/sessions", "POST /v1/sessions", "PATCH /v1/sessions/{sid}", "GET /v1/sessions/{sid}/messages"),
    *(
        "POST /v1/sessions/{sid}/messages",
        "GET /v1/sessions/{sid}/messages/{mid}/events",
        "GET /v1/sessions/{sid}/events",
    ),
]
"""Those for which the schema forbids anything: elsewhere every text is a path."""

NEVER_ENDS = "GET /v1/sessions/{sid}/events"


@dataclass
class Target:
    api: Api
    schema: Any
    sid: str
    mid: str
    session: requests.Session


@pytest.fixture(scope="module")
def target(api: Api) -> Target:
    config = schemathesis.Config.from_dict({"seed": 1})
    schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json", config=config)
    sid = api.session()
    session = requests.Session()
    session.trust_env = False
    return Target(api, schema, sid, api.send_whole(sid, "hello")["reply"]["id"], session)


def aimed(target: Target, name: str, case: Any, number: int) -> None:
    """Two of three cases go to what is there, and one of these names nothing that is not: else most would be a 404."""
    if number % 3 == 0 or name == NEVER_ENDS:
        return
    if "sid" in case.path_parameters:
        case.path_parameters["sid"] = target.api.session() if name.startswith("DELETE") else target.sid
    if "mid" in case.path_parameters:
        case.path_parameters["mid"] = target.mid
    if number % 3 == 1 and isinstance(case.body, dict):
        for field, known in (("model", "scripted:echo"), ("parent_id", None), ("head", target.mid)):
            if field in case.body:
                case.body[field] = known
    if number % 3 == 1:
        for header in [name for name in case.headers if name.lower() in ("last-event-id", "idempotency-key")]:
            del case.headers[header]


def check_stream(body: bytes) -> None:
    reader = StrictReader()
    reader.feed(body)
    reader.check_whole()
    assert reader.frames[-1].type == "message.ended"


def thrown(target: Target, name: str, mode: schemathesis.GenerationMode, examples: int) -> list[int]:
    """Throws so many cases at one operation and returns the statuses of the answers."""
    method, path = name.split(" ")
    statuses: list[int] = []

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=target.schema[path][method].as_strategy(generation_mode=mode))
    def throw(case: Any) -> None:
        aimed(target, name, case, len(statuses))
        answer = target.session.request(**case.as_transport_kwargs(), timeout=PATIENCE)
        statuses.append(answer.status_code)
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            check_stream(answer.content)
            return
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 400:
            check_problem(answer, answer.status_code, answer.json()["code"])

    run: Callable[[], None] = throw
    run()
    return statuses


@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_the_schema_allows_is_answered_as_it_says(
    target: Target, request: pytest.FixtureRequest, name: str
) -> None:
    examples = 200 if request.config.getoption("--full") else 12
    statuses = thrown(target, name, schemathesis.GenerationMode.POSITIVE, examples)
    assert any(status < 400 for status in statuses) or name == NEVER_ENDS


@pytest.mark.parametrize("name", FORBIDS)
def test_whatever_the_schema_forbids_is_refused_as_it_says(
    target: Target, request: pytest.FixtureRequest, name: str
) -> None:
    examples = 200 if request.config.getoption("--full") else 12
    thrown(target, name, schemathesis.GenerationMode.NEGATIVE, examples)


def test_after_all_of_that_it_serves(target: Target) -> None:
    assert target.api.get("//readyz").status_code == 200
    assert target.api.message(target.sid, target.mid)["content"] == "hello"
