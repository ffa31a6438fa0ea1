"""A client of a world-model service, with nothing but the standard library below it."""

import http.client
import json
import os
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ValidationError

from hwm_env.errors import InvalidInputError, ModelOutputError, ServiceError
from hwm_env.fields import NotNegative, checked, short

A = TypeVar("A", bound=BaseModel)

TOKEN_VARIABLE: Final = "HWM_SERVICE_TOKEN"
"""Environment variable with the token, for clients that are given none."""


class StaleSessionError(ServiceError):
    """The session is closed, busy or elsewhere."""


class ServiceClient:
    """Sends requests to a service and checks its answers. May be used by several threads.

    Copies, also in other processes, open connections of their own.

    Args:
        url: address of the service, such as "http://127.0.0.1:8766".
        token: its token; `None`: the environment variable HWM_SERVICE_TOKEN, or none.
        timeout_s: longest time without an answer.

    Raises:
        InvalidInputError: the address is not one.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 120.0) -> None:
        parts = urlsplit(checked("url", url, str))
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or port == -1:
            raise InvalidInputError(f"url must be an address such as 'http://127.0.0.1:8766', got {short(url)}")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._is_encrypted = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._path = parts.path.rstrip("/")
        token = checked("token", token, str | None) or os.environ.get(TOKEN_VARIABLE)
        if token is not None and not (token.isascii() and token.isprintable()):
            raise InvalidInputError("token must consist of printable ASCII characters")
        self._token = token
        self._timeout_s = checked("timeout_s", timeout_s, NotNegative)
        self._keep_connections()

    def __getstate__(self) -> dict[str, Any]:
        """Returns everything but connections."""
        return {name: value for name, value in self.__dict__.items() if name != "_idle"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores what `__getstate__` returned."""
        self.__dict__.update(state)
        self._keep_connections()

    def get(self, path: str, answer: type[A]) -> A:
        """Sends a GET request to a path such as "/v1/health", and returns its answer; raises as `post`."""
        return self._checked(answer, self._send("GET", path, None, again=True))

    def post(self, path: str, body: Mapping[str, Any], answer: type[A], *, again: bool = True) -> A:
        """Sends a POST request.

        Args:
            path: such as "/v1/predict".
            body: the request message, as JSON content.
            answer: the answer message.
            again: whether to send it again if the connection was closed meanwhile: for requests that change nothing.

        Raises:
            InvalidInputError: the service refuses the request.
            ModelOutputError: the model's output is not finite.
            StaleSessionError: the session is closed, busy or elsewhere.
            ServiceError: the service cannot be reached, or does not answer as one.
        """
        return self._checked(answer, self._send("POST", path, json.dumps(body).encode(), again=again))

    def delete(self, path: str) -> None:
        """Sends a DELETE request; raises as `post`."""
        self._send("DELETE", path, None, again=True)

    def close(self) -> None:
        """Closes all connections that are not in use; later requests open others."""
        _close_all(self._idle)

    def _send(self, method: str, path: str, body: bytes | None, *, again: bool) -> bytes:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        connection, is_new = self._connection()
        try:
            connection.request(method, self._path + quote(path), body, headers)
            response = connection.getresponse()
            content = response.read()
        except (http.client.HTTPException, OSError) as error:
            connection.close()
            # A service closes connections that were idle.
            if again and not is_new and not isinstance(error, TimeoutError):
                self.close()
                return self._send(method, path, body, again=False)
            raise ServiceError(
                f"{self.url} does not answer ({type(error).__name__}: {error}); start it with `hwm-env serve`"
            ) from error
        self._idle.append(connection)
        if response.status != 200:
            raise _error(self.url, response.status, content)
        return content

    def _keep_connections(self) -> None:
        self._idle: deque[http.client.HTTPConnection] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """Returns a connection, and whether it is a new one."""
        try:
            return self._idle.pop(), False
        except IndexError:
            kind = http.client.HTTPSConnection if self._is_encrypted else http.client.HTTPConnection
            return kind(self._host, self._port, timeout=self._timeout_s), True

    def _checked(self, answer: type[A], content: bytes) -> A:
        try:
            return answer.model_validate(json.loads(content))
        except (ValueError, ValidationError) as error:
            raise ServiceError(
                f"{self.url} does not answer like a world-model service of this version: {short(str(error))}"
            ) from error


def _close_all(connections: deque[http.client.HTTPConnection]) -> None:
    while True:
        try:
            connections.pop().close()
        except IndexError:
            return


def _error(url: str, status: int, content: bytes) -> Exception:
    """Returns the error that an answer stands for."""
    try:
        fields = json.loads(content)
        reason, rows = str(fields["error"]), [int(row) for row in fields.get("rows", [])]
    except (ValueError, TypeError, KeyError, AttributeError):
        reason, rows = short(content.decode(errors="replace")), []
    if rows:
        return ModelOutputError(rows)
    if status in (404, 409):
        return StaleSessionError(f"{url}: {reason}")
    if status in (400, 413, 422):
        return InvalidInputError(f"{url}: {reason}")
    return ServiceError(f"{url} answered {status}: {reason}")
