"""The page, and the WebSocket over which a browser watches and drives."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from demos.serve.guard import REFUSED, Guard, KnownHosts
from demos.serve.messages import RateLimit, parse
from demos.serve.room import Room, Viewer
from hwm_env.errors import InvalidInputError

STATIC: Final = Path(__file__).parent / "static"
FULL: Final = 1013
"""Code with which a WebSocket is closed that may try again later (RFC 6455)."""
LONGEST_REASON_BYTES: Final = 123
"""That a WebSocket can be closed with."""


def make_app(room: Room, token: str | None, hosts: KnownHosts) -> ASGIApp:
    """The application.

    Args:
        room: what is watched.
        token: what everybody must know; None: nothing.
        hosts: what the server is reached under; requests for others are refused.
    """

    def knows_token(connection: HTTPConnection) -> bool:
        said = connection.query_params.get("token", "")
        return token is None or hmac.compare_digest(said.encode(), token.encode())

    async def page(request: HTTPConnection) -> Response:
        if not knows_token(request):
            return PlainTextResponse("a token is needed: open the address that the server printed", status_code=403)
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-store"})

    async def drive(socket: WebSocket) -> None:
        if not knows_token(socket):
            await socket.close(REFUSED)
            return
        await socket.accept()
        try:
            viewer = room.enter()
        except InvalidInputError as error:
            await _refuse(socket, FULL, error)
            return
        telling = asyncio.create_task(_tell(socket, viewer))
        try:
            await _listen(socket, room, viewer)
        finally:
            telling.cancel()
            room.leave(viewer)

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        going = asyncio.create_task(room.run())
        yield
        going.cancel()
        with suppress(asyncio.CancelledError):
            await going

    routes = [Route("/", page), WebSocketRoute("/drive", drive), Mount("/static", StaticFiles(directory=STATIC))]
    return Guard(Starlette(routes=routes, lifespan=running), hosts)


async def _listen(socket: WebSocket, room: Room, viewer: Viewer) -> None:
    """Until it goes, or says what must not be said."""
    limit = RateLimit()
    while True:
        received = await socket.receive()
        if received["type"] == "websocket.disconnect":
            return
        try:
            limit.count()
            if received.get("text") is None:
                raise InvalidInputError("expected text, got bytes")
            room.obey(viewer, parse(received["text"]))
        except InvalidInputError as error:
            await _refuse(socket, REFUSED, error)
            return


async def _tell(socket: WebSocket, viewer: Viewer) -> None:
    """Until it goes; what it has said before that is still listened to."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            for news in await viewer.news():
                if isinstance(news, bytes):
                    await socket.send_bytes(news)
                else:
                    await socket.send_text(news)


async def _refuse(socket: WebSocket, code: int, error: InvalidInputError) -> None:
    """Closes with as much of the reason as there is room for, in whole characters."""
    reason = str(error).encode(errors="backslashreplace")[:LONGEST_REASON_BYTES]
    await socket.close(code, reason.decode(errors="ignore"))
