"""The OpenAPI document of a service, and a page that shows it."""

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from hwm_env.remote.messages import ErrorAnswer
from hwm_env.service.endpoints import Endpoint

DESCRIPTION: Final = (
    "A learned simulator of a humanoid robot. A clip is 17 frames (0.567 s); an action is 25 numbers a frame, in the "
    "order of `action_names`. Refused requests are answered with a status of 4xx and the reason in `error`."
)
ERRORS: Final = {
    400: "The request is not JSON.",
    401: "The token is missing or wrong.",
    403: "The host is unknown, or the request comes from a page of another server.",
    404: "There is no such thing, or no longer.",
    408: "The request did not arrive in time.",
    409: "The session is busy, or elsewhere.",
    413: "The request is too large.",
    422: "A value is not allowed.",
    429: "There are too many requests or sessions.",
    500: "The model's output is not finite, or the service has a fault.",
    503: "The service is busy.",
}
_OF_ALL: Final = (401, 403, 422, 429, 500, 503)
_OF_BODIES: Final = (400, 408, 413)


def openapi_document(endpoints: Sequence[Endpoint], version: str, *, has_token: bool) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document.

    Args:
        endpoints: all endpoints.
        version: version of the service.
        has_token: whether clients must send a token.
    """
    models: dict[str, type[BaseModel]] = {ErrorAnswer.__name__: ErrorAnswer}
    for endpoint in endpoints:
        models |= {model.__name__: model for model in (endpoint.request, endpoint.answer) if model is not None}
    _, schemas = models_json_schema(
        [(models[name], "validation") for name in sorted(models)], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    paths["/v1/metrics"] = {
        "get": {
            "operationId": "metrics",
            "summary": "Returns counts in Prometheus' text format.",
            "responses": {"200": {"description": "Metrics.", "content": {"text/plain": {}}}},
        }
    }
    components: dict[str, Any] = {"schemas": schemas["$defs"]}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "hwm_env world-model service", "version": version, "description": DESCRIPTION},
        "paths": paths,
        "components": components,
    }
    if has_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def page(document: dict[str, Any]) -> str:
    """Returns an HTML page that lists the operations of a document."""
    rows = "".join(
        f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(operation['summary'])}</td>"
        f"<td>{_schema_name(operation)}</td></tr>"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    info = document["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        f"<table><tr><th>request</th><th>what it does</th><th>body</th></tr>{rows}</table>"
        '<p>All fields: <a href="/v1/openapi.json">openapi.json</a></p></html>'
    )


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    statuses = {*_OF_ALL, *endpoint.errors, *(_OF_BODIES if endpoint.request else ())}
    error = _content(ErrorAnswer.__name__)
    responses: dict[str, Any] = {"200": {"description": "The answer.", "content": _content(endpoint.answer.__name__)}}
    responses |= {str(status): {"description": ERRORS[status], "content": error} for status in sorted(statuses)}
    operation: dict[str, Any] = {
        "operationId": endpoint.handle.__name__,
        "summary": endpoint.summary,
        "responses": responses,
    }
    if endpoint.request is not None:
        operation["requestBody"] = {"required": True, "content": _content(endpoint.request.__name__)}
    if "{name}" in endpoint.path:
        operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    if endpoint.path == "/v1/health":
        operation["security"] = []
    return operation


def _content(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}


def _schema_name(operation: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return escape(body.get("schema", {}).get("$ref", "").rpartition("/")[2])
