"""The service's OpenAPI description."""

from typing import Any

from faceveil import __version__
from faceveil.service import wire

_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
_AGAIN = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_FOOLS = {wire.FOOLS: {"description": "The recognizers that the model learned to fool.", "schema": {"type": "string"}}}
_ERRORS = {
    400: "Not one whole message of version 1 (see docs/service.md), or too many values or faces in it.",
    401: "The token is missing or wrong.",
    404: "The model has another name.",
    408: "The body did not come in time.",
    411: "There is no Content-Length.",
    413: "More bytes than a request may have.",
    415: f"The body is not {wire.MEDIA_TYPE}.",
    503: "Too much is waiting, too many connections are open, the model failed, or the service ends: come again.",
}


def describe(body: int, answer: int, seconds: float, token: bool) -> dict[str, Any]:
    """The description of a service that takes and gives so many bytes, for so many seconds, with or without a token."""
    errors = {
        str(status): {"description": about, "content": _ERROR} | ({"headers": _AGAIN} if status == 503 else {})
        for status, about in _ERRORS.items()
        if token or status != 401
    }
    guarded: dict[str, Any] = {"security": [{"token": []}]} if token else {}
    refused = {"401": errors["401"]} if token else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "faceveil",
            "version": __version__,
            "summary": "Makes cloaks stronger without seeing the photo.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/noise": {
                "post": {
                    "operationId": "noise",
                    "summary": "Gradients of a few bits in, noise within epsilon out.",
                    "description": f"At most {body} bytes and {seconds:g} seconds. Nothing that arrives is stored.",
                    "requestBody": {"required": True, "content": _levels(body)},
                    "responses": {
                        "200": {"description": "Noise for every face.", "content": _levels(answer), "headers": _FOOLS}
                    }
                    | errors,
                    **guarded,
                }
            },
            "/health": {"get": _told("health", "Whether the process runs.")},
            "/ready": {"get": _told("ready", "Whether requests are taken, and which.", busy=True)},
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "Counts and times, for Prometheus.",
                    "responses": {"200": {"description": "Its text format.", "content": {"text/plain": {}}}} | refused,
                    **guarded,
                }
            },
            "/openapi.json": {"get": _told("openapi", "This description.")},
        },
        "components": {
            "schemas": {
                "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
            },
            **({"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if token else {}),
        },
    }


def _levels(most: int) -> dict[str, Any]:
    return {wire.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary", "maxLength": most}}}


def _told(name: str, about: str, busy: bool = False) -> dict[str, Any]:
    told: dict[str, Any] = {
        "200": {"description": about, "content": {"application/json": {"schema": {"type": "object"}}}}
    }
    if busy:
        told["503"] = {"description": "Not now.", "content": _ERROR, "headers": _AGAIN}
    return {"operationId": name, "summary": about, "responses": told}
