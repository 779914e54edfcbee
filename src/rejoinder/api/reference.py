"""The schema of the interface, `/openapi.json`: what FastAPI makes of the routes, and what it cannot know of them.

That are the values that are answered, the limits that the settings set, and what the edge may answer to any request.
"""

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from rejoinder.api.edge import OPEN_PATHS
from rejoinder.api.responses import DOCUMENTED, problems
from rejoinder.chat.search import LONGEST
from rejoinder.entities import JsonObject
from rejoinder.settings import Settings


def install(app: FastAPI) -> None:
    """Makes the app's schema the whole one."""
    settings: Settings = app.state.settings

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            _limit_bodies(schemas, settings)
            schemas.update(_answered())
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    _limit_parameters(operation, settings)
                    _add_problems(operation, at_the_edge=path not in OPEN_PATHS)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def _answered() -> dict[str, Any]:
    """The values that are answered. All but what may be unset is always there, so that no default is of any use to who reads them."""
    _, schemas = msgspec.json.schema_components(DOCUMENTED, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        fields = schema.get("properties", {})
        always = {*schema.get("required", ()), *(name for name, field in fields.items() if "default" in field)}
        if fields:
            schema["required"] = [name for name in fields if name in always]
        for field in fields.values():
            field.pop("default", None)
    pair = schemas["SearchHit"]["properties"]["matches"]["items"]
    pair["items"] = pair.pop("prefixItems")[0]  # there are generators of clients that read no tuples
    return dict(schemas)


def _limit_bodies(schemas: dict[str, Any], settings: Settings) -> None:
    params = schemas["Params"]
    params["properties"] = {name: {} for name in sorted(settings.extra_names())} | params["properties"]
    params["additionalProperties"] = False
    bodies = [schema for name, schema in schemas.items() if name.endswith("Body")]
    for body in (*bodies, schemas["TextPart"]):
        for name, field in body["properties"].items():
            if name == "title":
                _limit(field, maxLength=settings.max_title)
            elif name in ("system_prompt", "content", "text"):
                _limit(field, maxLength=settings.max_text)  # it is so many bytes
            elif name == "metadata":
                field["maxProperties"] = settings.max_metadata
                field["propertyNames"] = {"minLength": 1, "maxLength": settings.max_metadata_key}
                field["additionalProperties"] |= {"maxLength": settings.max_metadata_value}


def _limit_parameters(operation: JsonObject, settings: Settings) -> None:
    for parameter in operation.get("parameters", ()):
        match parameter["name"]:
            case "limit":
                _limit(parameter["schema"], minimum=1, maximum=settings.max_page)
            case "q":
                _limit(parameter["schema"], minLength=1, maxLength=LONGEST)


def _limit(schema: JsonObject, **bounds: int) -> None:
    """Of what may be null, too, and of a text that may be a list."""
    for part in schema.get("anyOf", [schema]):
        if part.get("type") in ("string", "integer"):
            part.update(bounds)


def _add_problems(operation: JsonObject, *, at_the_edge: bool) -> None:
    told = operation["responses"]
    if "application/json" in told.get("422", {}).get("content", {}):
        del told["422"]  # FastAPI's own: where the route names none, nothing but texts is asked for
    for status, answer in problems(*((403,) if at_the_edge else ()), 405, 431, 500).items():
        told.setdefault(str(status), answer)
