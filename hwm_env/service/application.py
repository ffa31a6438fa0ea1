"""The web application: routes, bodies, and errors with a reason."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from hwm_env.errors import InvalidInputError, ModelOutputError
from hwm_env.fields import short
from hwm_env.service.batching import BusyError
from hwm_env.service.endpoints import MOST_BYTES, Call, Endpoint, GoneError, Service
from hwm_env.service.gate import ROUTE, Gate
from hwm_env.service.guard import Guard, KnownHosts
from hwm_env.service.limits import ClientRates
from hwm_env.service.metrics import Metrics
from hwm_env.service.openapi import openapi_document, page
from hwm_env.service.sessions import SessionConflictError, SessionsFullError, UnknownSessionError

BODY_S: Final = 30.0
"""Seconds in which a request's body must arrive."""
_STATUSES: Final = {
    InvalidInputError: 422,
    UnknownSessionError: 404,
    SessionConflictError: 409,
    SessionsFullError: 429,
    ModelOutputError: 500,
    BusyError: 503,
}

_log = logging.getLogger(__name__)


def make_app(service: Service, token: str | None, hosts: KnownHosts, rates: ClientRates, metrics: Metrics) -> ASGIApp:
    """Makes the application.

    Args:
        service: what it does.
        token: token that clients must send; `None`: none.
        hosts: names of the server; requests for other hosts are refused.
        rates: limit for each client's address.
        metrics: counts requests.
    """
    document = openapi_document(service.endpoints, version("hwm-env"), has_token=token is not None)

    def show(path: str, answer: Callable[[], Response]) -> Route:
        async def shown(request: Request) -> Response:
            request.scope[ROUTE] = path
            return answer()

        return Route(path, shown, methods=["GET"])

    def measure() -> Response:
        gauges = {
            "hwm_sessions": ("Open sessions.", len(service.sessions)),
            "hwm_sessions_expired": ("Sessions that have expired.", service.sessions.expired),
            "hwm_waiting": ("Computations that wait.", service.batcher.waiting),
        }
        return PlainTextResponse(metrics.text(gauges), media_type="text/plain; version=0.0.4")

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.batcher.close)

    app = Starlette(
        routes=[
            *(Route(end.path, _handler(end), methods=[end.method]) for end in service.endpoints),
            show("/v1/metrics", measure),
            show("/v1/openapi.json", lambda: JSONResponse(document)),
            show("/", lambda: HTMLResponse(page(document))),
        ],
        exception_handlers={HTTPException: _no_route},
        lifespan=running,
    )
    return Guard(Gate(app, token, rates, metrics), hosts)


def _handler(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        request.scope[ROUTE] = endpoint.path
        try:
            body = None if endpoint.request is None else await _body(request, endpoint.request)
            call = Call(body, request.path_params.get("name", ""), request.is_disconnected)
            content = (await endpoint.handle(call)).model_dump_json()
        except HTTPException as error:
            return JSONResponse({"error": error.detail}, error.status_code)
        except (GoneError, ClientDisconnect):
            return Response(status_code=499)
        except Exception as error:
            if isinstance(error, tuple(_STATUSES)):
                return _failed(error)
            _log.exception("%s %s failed", endpoint.method, endpoint.path)
            return JSONResponse({"error": "the service has a fault; its log has the details"}, 500)
        return Response(content, media_type="application/json")

    return handle


async def _body(request: Request, model: type[BaseModel]) -> BaseModel:
    """Returns the message in a request's body.

    Raises:
        HTTPException: the body is too large, too slow or not JSON.
        InvalidInputError: it is not such a message; names the field.
    """
    try:
        content = await asyncio.wait_for(_content(request), BODY_S)
    except TimeoutError:
        raise HTTPException(408, f"the request did not arrive within {BODY_S:g} s; send it again") from None
    try:
        fields = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"expected JSON, got {content[:40]!r} ({short(str(error))})") from None
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(map(str, detail["loc"])) or model.__name__
        raise InvalidInputError(f"{place}: {detail['msg']}, got {short(detail['input'])}") from None
    except RecursionError:
        raise InvalidInputError("expected a message, got values within values within values") from None


async def _content(request: Request) -> bytes:
    too_large = HTTPException(413, f"expected at most {MOST_BYTES} bytes; send fewer rows or chunks")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MOST_BYTES:
        raise too_large
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MOST_BYTES:
            raise too_large
    return bytes(content)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _failed(error: Exception) -> Response:
    status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
    content: dict[str, Any] = {"error": str(error)}
    if isinstance(error, ModelOutputError):
        content["rows"] = list(error.rows)
    return JSONResponse(content, status, {"Retry-After": "1"} if status in (429, 503) else None)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = f"there is no {request.method} {request.url.path[:80]}; /v1/openapi.json lists what there is"
    return JSONResponse({"error": reason}, error.status_code, error.headers)
