"""The client against services that are absent, odd or slow."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from hwm_env.errors import InvalidInputError, ModelOutputError, ServiceError
from hwm_env.remote.client import ServiceClient, StaleSessionError
from hwm_env.remote.messages import Health


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers with the next of given statuses and contents."""

    answers: list[tuple[int, bytes]]
    tokens: list[str | None]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, content = self.answers.pop(0)
        self.tokens.append(self.headers["Authorization"])
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def odd() -> Iterator[str]:
    Odd.answers, Odd.tokens = [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


GOOD = (200, b'{"status": "ok", "model": "m", "version": "1"}')


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((200, b"<html>"), ServiceError, "does not answer like a world-model service of this version"),
        ((200, b'{"status": "ok"}'), ServiceError, "does not answer like"),
        ((500, b'{"error": "oh"}'), ServiceError, "answered 500: oh"),
        ((502, b"\xff bad gateway"), ServiceError, "answered 502: .*bad gateway"),
        ((401, b'{"error": "wrong token"}'), ServiceError, "answered 401: wrong token"),
        ((422, b'{"error": "rows: no"}'), InvalidInputError, "rows: no"),
        ((500, b'{"error": "oh", "rows": [1, 2]}'), ModelOutputError, "row 1, 2"),
        ((409, b'{"error": "elsewhere"}'), StaleSessionError, "elsewhere"),
        ((302, b""), ServiceError, "answered 302"),
    ],
)
def test_answers_become_errors(odd: str, answer: tuple[int, bytes], kind: type[Exception], message: str) -> None:
    client = ServiceClient(odd)
    Odd.answers = [answer, GOOD]
    with pytest.raises(kind, match=message):
        client.get("/v1/health", Health)
    assert client.get("/v1/health", Health).model == "m"
    client.close()


def test_connections_that_were_closed_are_opened_again(odd: str) -> None:
    client = ServiceClient(odd, "t")
    Odd.answers = [GOOD, (0, b""), GOOD]
    for _ in range(2):
        client.get("/v1/health", Health)
    assert Odd.tokens == ["Bearer t"] * 3
    Odd.answers = [(0, b""), (0, b"")]
    with pytest.raises(ServiceError, match=r"does not answer .*start it with `hwm-env serve`"):
        client.get("/v1/health", Health)


def test_nobody_listens(odd: str) -> None:
    with pytest.raises(ServiceError, match=r"http://127.0.0.1:1 does not answer \(ConnectionRefusedError"):
        ServiceClient("http://127.0.0.1:1").get("/v1/health", Health)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8766", "ftp://here", "http://", "http://a:b", "http://user@here", "http://here:99999"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidInputError, match="url must be an address such as"):
        ServiceClient(url)


def test_what_is_no_token() -> None:
    with pytest.raises(InvalidInputError, match="token must consist of printable ASCII"):
        ServiceClient("http://127.0.0.1:1", "a\r\nHost: b")
