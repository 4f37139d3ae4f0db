"""JSON answers: msgspec structs, written to clients and described in /openapi.json from one declaration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.responses import Response

NO_STORE = {"Cache-Control": "no-store"}

_REF = "#/components/schemas/{name}"
_described: dict[str, type] = {}


def described(*kinds: type) -> dict[str, Any]:
    """Returns the entry in a route's `responses` for JSON of one of these struct types."""
    _described.update({kind.__name__: kind for kind in kinds})
    refs = [{"$ref": _REF.format(name=kind.__name__)} for kind in kinds]
    return {"content": {"application/json": {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}}}


def json_response(answer: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Encodes structs, and builtin types around them, as a JSON response."""
    return Response(msgspec.json.encode(answer), status, headers, media_type="application/json")


def describe_answers(app: FastAPI) -> None:
    """Adds the described types to the components of the app's /openapi.json."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schema.setdefault("components", {}).setdefault("schemas", {}).update(answer_schemas())
        return schema

    app.openapi = openapi      # type: ignore[method-assign]


def answer_schemas() -> dict[str, Any]:
    """Returns the OpenAPI components of all described types, by name.

    Every field is required unless it may be UNSET, because answers carry default values; no other field is sent.
    """
    _, components = msgspec.json.schema_components(_described.values(), ref_template=_REF)
    return {name: _as_sent(schema) for name, schema in components.items()}


def _as_sent(schema: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in schema:
        return schema
    required = set(schema["required"])
    properties = {}
    for name, property_schema in schema["properties"].items():
        if "default" in property_schema:
            required.add(name)
        properties[name] = {key: value for key, value in property_schema.items() if key != "default"}
    ordered = [name for name in properties if name in required]
    return {**schema, "properties": properties, "required": ordered, "additionalProperties": False}
