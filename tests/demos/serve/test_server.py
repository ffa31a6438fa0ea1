"""The server in its own process, over real sockets."""

import asyncio
import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect

from demos.driving.drive import Drive
from demos.driving.session import Session, SessionConfig
from demos.serve.__main__ import main
from demos.serve.messages import MOST_A_SECOND
from demos.serve.shared_drive import SharedDrive
from tests.demos.checkpoints import save_tiny_checkpoint

pytestmark = pytest.mark.slow

ADDRESS = re.compile(r"http://([\d.]+):(\d+)/(\?token=\S+)?")

LONGEST_S = 300.0
"""Longer than anything takes on a busy machine."""


class Server:
    """`python -m demos.serve` on the tiny checkpoint."""

    def __init__(self, checkpoint: Path, *options: str) -> None:
        command = [sys.executable, "-m", "demos.serve", "--checkpoint", str(checkpoint), "--port", "0", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        found = ADDRESS.match(self.process.stdout.readline())
        assert found is not None, self.process.communicate()[1]
        self.port, self.query = int(found[2]), found[3] or ""

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def connect(self, query: str | None = None, **options: Any) -> connect:
        query = self.query if query is None else query
        return connect(f"ws://127.0.0.1:{self.port}/drive{query}", **{"close_timeout": 0.1, **options})

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=LONGEST_S)
        assert "Traceback" not in errors, errors


@pytest.fixture(scope="module")
def server(tiny_checkpoint: Path) -> Iterator[Server]:
    made = Server(tiny_checkpoint, "--viewers", "3")
    yield made
    made.close()


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), LONGEST_S))  # type: ignore[arg-type]


async def status(client: ClientConnection, holds: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
    """Returns the next status for which a condition holds."""
    async for message in client:
        content = json.loads(message) if isinstance(message, str) else {}
        if content.get("type") == "status" and holds(content):
            return content
    raise AssertionError("the connection is closed")


async def say(client: ClientConnection, **content: Any) -> None:
    await client.send(json.dumps(content))


@asynccontextmanager
async def driving(client: ClientConnection, **hold: Any) -> AsyncIterator[None]:
    """Takes the wheel, and repeats the held actions as the page does."""

    async def repeat() -> None:
        while True:
            await say(client, type="wheel", take=True)
            await say(client, type="hold", **hold)
            await asyncio.sleep(0.2)

    repeating = asyncio.create_task(repeat())
    try:
        yield
    finally:
        repeating.cancel()


async def closed_with(client: ClientConnection) -> int:
    """Returns the close code of a closed connection."""
    await client.wait_closed()
    assert client.close_code is not None
    return client.close_code


def test_the_page_and_its_parts_are_there(server: Server) -> None:
    page = httpx.get(server.page)
    assert page.status_code == 200
    for part in re.findall(r'(?:src|href)="(static/[^"]+)"', page.text):
        assert httpx.get(server.page + part).status_code == 200
    assert httpx.get(server.page + "static/../app.py").status_code == 404


def test_the_driver_drives_and_others_watch(server: Server) -> None:
    async def story() -> None:
        async with server.connect() as driver, server.connect() as viewer:
            assert (await status(driver))["wheel"] == "free"
            await say(driver, type="wheel", take=True)
            assert (await status(driver, lambda content: content["wheel"] != "free"))["wheel"] == "driver"
            assert (await status(viewer, lambda content: content["wheel"] != "free"))["wheel"] == "taken"
            await say(viewer, type="wheel", take=True)
            await say(viewer, type="hold", actions=["right"])
            async with driving(driver, actions=["forward"], turn=0.5):
                moving = await status(viewer, lambda content: content["state"][23] > 0.3 and content["state"][24] > 0.2)
                assert moving["wheel"] == "taken"
                await say(driver, type="press", action="pause")
                paused = await status(viewer, lambda content: content["paused"])
                await say(driver, type="press", action="rewind")
                assert (await status(viewer, lambda content: content["step"] < paused["step"]))["error"] is None
                await say(driver, type="press", action="pause")
                await status(driver, lambda content: not content["paused"] and content["state"][23] > 0.3)
        async with server.connect() as viewer:
            # The driver has disconnected.
            stopped = await status(
                viewer, lambda content: abs(content["state"][23]) < 1e-3 and abs(content["state"][24]) < 1e-3
            )
            assert stopped["wheel"] == "free"

    run(story)


def test_a_driver_who_falls_silent_stops_and_loses_the_wheel(server: Server) -> None:
    async def story() -> None:
        async with server.connect() as driver, server.connect() as viewer:
            async with driving(driver, actions=["forward"]):
                await status(viewer, lambda content: content["state"][23] > 0.3)
            await status(viewer, lambda content: content["wheel"] == "free")
            await status(viewer, lambda content: abs(content["state"][23]) < 1e-3)
            await say(viewer, type="wheel", take=True)
            await status(viewer, lambda content: content["wheel"] == "driver")

    run(story)


def test_pictures_come_as_jpeg(server: Server) -> None:
    async def story() -> None:
        async with server.connect() as viewer:
            pictures = []
            async for message in viewer:
                if isinstance(message, bytes):
                    pictures.append(Image.open(io.BytesIO(message)).size)
                if len(pictures) == 5:
                    break
            assert pictures == [(384, 384)] * 5

    run(story)


def first_status(checkpoint: Path) -> dict[str, Any]:
    """Returns the first status that a viewer receives."""

    async def story() -> dict[str, Any]:
        drive = Drive(lambda: Session(SessionConfig(checkpoint=str(checkpoint), task=None, start=1)))
        news = await SharedDrive(drive, None, 1).enter().news()
        drive.close()
        return next(content for content in map(json.loads, filter(_is_text, news)) if content["type"] == "status")

    return asyncio.run(story())


def _is_text(news: str | bytes) -> bool:
    return isinstance(news, str)


def test_the_plan_comes_with_the_status(tmp_path: Path) -> None:
    plan = first_status(save_tiny_checkpoint(tmp_path))["plan"]
    assert plan["captions"] == {"learned": "pose in the learned world"}
    kind, content = plan["picture"].split(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (256, 256)


def test_without_a_scene_there_is_no_plan(tiny_checkpoint: Path) -> None:
    assert first_status(tiny_checkpoint)["plan"] is None


def test_more_viewers_are_turned_away(server: Server) -> None:
    async def story() -> None:
        async with server.connect() as one, server.connect() as two, server.connect() as three:
            for client in (one, two, three):
                await status(client)
            async with server.connect() as fourth:
                assert await closed_with(fourth) == 1013
            await status(one)
        async with server.connect() as again:
            await status(again)

    run(story)


@pytest.mark.parametrize(
    ("message", "code"),
    [("{", 1008), (b"\x00\x01", 1008), ('{"type": "press", "action": "quit"}', 1008), ("x" * 10_000, 1009)],
)
def test_invalid_messages_end_the_connection_only(server: Server, message: str | bytes, code: int) -> None:
    async def story() -> None:
        async with server.connect() as other, server.connect() as client:
            await status(client)
            await client.send(message)
            assert await closed_with(client) == code
            await status(other)

    run(story)


@pytest.mark.parametrize(
    "message",
    [
        "\N{ROBOT FACE}" * 200,
        "x" + "\N{ROBOT FACE}" * 200,
        "ä" * 700,
        json.dumps({"type": "hold", "actions": [], "turn": "\N{ROBOT FACE}" * 60}),
        # Half an emoji, which UTF-8 cannot encode.
        '{"type": "hold", "actions": [], "turn": "' + "\\ud83e" * 60 + '"}',
    ],
    ids=["emoji", "x and emoji", "umlauts", "emoji in a field", "half an emoji"],
)
def test_a_reason_of_many_bytes_is_cut_between_characters(server: Server, message: str) -> None:
    async def story() -> None:
        async with server.connect() as client:
            await client.send(message)
            assert await closed_with(client) == 1008
            reason = client.close_reason
            assert reason is not None
            assert reason.startswith("expected ")
            assert "\N{REPLACEMENT CHARACTER}" not in reason
            assert len(reason.encode()) <= 123

    run(story)


def test_flooding_ends_the_connection_only(server: Server) -> None:
    async def story() -> None:
        async with server.connect() as other, server.connect() as client:
            await status(client)
            with suppress(websockets.ConnectionClosed):
                # Messages of viewers cost little, so that even a busy server reads too many a second.
                for _ in range(20 * MOST_A_SECOND):
                    await say(client, type="hold", actions=[])
            assert await closed_with(client) == 1008
            await status(other)

    run(story)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://evil.example:{port}",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
        "http://127.0.0.1:{port}/",
        "http://127.0.0.1:{port}@evil.example",
        "null",
        "",
    ],
)
def test_pages_of_others_cannot_open_the_socket(server: Server, origin: str) -> None:
    async def story() -> None:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with server.connect(additional_headers={"Origin": origin.format(port=server.port)}):
                pass
        assert caught.value.response.status_code == 403

    run(story)


def test_its_own_page_can_open_the_socket(server: Server) -> None:
    async def story() -> None:
        for name in ("127.0.0.1", "localhost"):
            origin = f"http://{name}:{server.port}"
            uri = f"ws://{name}:{server.port}/drive"
            async with connect(uri, host="127.0.0.1", port=server.port, origin=origin) as client:  # type: ignore[arg-type]
                await status(client)

    run(story)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "localhost.evil.example", "10.0.0.1"])
def test_a_name_that_was_made_to_resolve_to_this_machine_is_refused(server: Server, host: str) -> None:
    """DNS rebinding: to the browser, page and server have one origin."""
    named = host.format(port=server.port)
    for path in ("", "static/drive.js", "nothing"):
        refused = httpx.get(server.page + path, headers={"Host": named})
        assert refused.status_code == 403
        assert "--name" in refused.text

    async def story() -> None:
        to_server: dict[str, Any] = {"host": "127.0.0.1", "port": server.port}
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with connect(f"ws://{named}/drive", origin=f"http://{named}", **to_server):  # type: ignore[arg-type]
                pass
        assert caught.value.response.status_code == 403

    run(story)


def test_answers_tell_browsers_what_a_page_may_do_and_nothing_of_the_server(server: Server) -> None:
    for path, code in (("", 200), ("static/drive.js", 200), ("nothing", 404)):
        answer = httpx.get(server.page + path)
        assert answer.status_code == code
        assert_guarded(answer.headers)
    assert_guarded(httpx.get(server.page, headers={"Host": "evil.example"}).headers)

    async def story() -> None:
        async with server.connect() as client:
            assert client.response is not None
            assert "server" not in client.response.headers
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with server.connect(origin="http://evil.example"):
                pass
        assert "server" not in caught.value.response.headers

    run(story)


def assert_guarded(headers: httpx.Headers) -> None:
    assert "server" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"


def test_other_addresses_need_the_token(tiny_checkpoint: Path) -> None:
    server = Server(tiny_checkpoint, "--host", "0.0.0.0")
    try:
        assert len(server.query) > len("?token=") + 16
        assert httpx.get(server.page).status_code == 403
        assert httpx.get(server.page + "?token=wrong").status_code == 403
        assert httpx.get(server.page + server.query).status_code == 200

        async def story() -> None:
            with pytest.raises(websockets.InvalidStatus):
                async with server.connect("?token=wrong"):
                    pass
            async with server.connect() as client:
                await status(client)

        run(story)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("options", "message"), [(["--checkpoint", "nowhere"], "nowhere"), (["--port", "taken"], "cannot listen")]
)
def test_bad_input_is_exit_status_2(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main([str(taken.getsockname()[1]) if option == "taken" else option for option in options]) == 2
    assert message in capsys.readouterr().err


def test_bad_input_ends_the_process_with_2() -> None:
    command = [sys.executable, "-m", "demos.serve", "--port", "99999"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
    assert done.returncode == 2
    assert "cannot listen" in done.stderr
    assert "Traceback" not in done.stderr
