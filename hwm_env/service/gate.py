"""What every request passes: the rate of its client, the token, and the metrics."""

import hmac
import time
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hwm_env.service.limits import ClientRates
from hwm_env.service.metrics import Metrics

ROUTE: Final = "hwm_env.route"
"""Key of a request's scope under which its route's path is noted, for the metrics."""
_OPEN: Final = ("/v1/health",)
"""Paths that need no token."""


class Gate:
    """Limits rates, checks the token and counts requests.

    Args:
        app: the application behind.
        token: token that clients must send, as `Authorization: Bearer TOKEN`; `None`: none.
        rates: limit for each client's address.
        metrics: counts requests.
    """

    def __init__(self, app: ASGIApp, token: str | None, rates: ClientRates, metrics: Metrics) -> None:
        self._app = app
        self._token = token
        self._rates = rates
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses a request, or passes it to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.monotonic()
        status = 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        refusal = self._refusal(scope)
        try:
            await (refusal or self._app)(scope, receive, counted)
        finally:
            seconds = time.monotonic() - began_s
            self._metrics.count_request(_method(scope), scope.get(ROUTE, "other"), status, seconds)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        client = scope.get("client") or ("", 0)
        if not self._rates.admits(client[0]):
            reason = "too many requests a second; send fewer, or several rows and chunks in one"
            return JSONResponse({"error": reason}, 429, {"Retry-After": "1"})
        if scope["path"] not in _OPEN and not self._has_token(Headers(scope=scope).get("authorization", "")):
            reason = "wrong or missing token; send the header Authorization: Bearer TOKEN"
            return JSONResponse({"error": reason}, 401, {"WWW-Authenticate": "Bearer"})
        return None

    def _has_token(self, sent: str) -> bool:
        if self._token is None:
            return True
        scheme, _, token = sent.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token.encode())


def _method(scope: Scope) -> str:
    """Returns the method, of which there are few."""
    method: str = scope["method"]
    return method if method in ("GET", "HEAD", "POST", "DELETE") else "other"
