"""The command in a process of its own, and the page about it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.service.network import is_loopback, listening, needed_token, url_of
from tests.service.servers import LONGEST_S, serving

PAGE = Path(__file__).parents[2] / "docs" / "service.md"
URL = "http://127.0.0.1:8766"


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert found
    return found


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(tiny_checkpoint: Path) -> None:
    command = [sys.executable, "-m", "hwm_env", "serve", str(tiny_checkpoint), "--port", "0", "--host", "0.0.0.0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        address = re.fullmatch(r"http://0\.0\.0\.0:(\d+)/ token (\S{20,})\n", process.stdout.readline())
        assert address, process.communicate()
        url = f"http://127.0.0.1:{address[1]}"
        assert httpx.get(f"{url}/v1/capabilities", timeout=LONGEST_S).status_code == 401
        headers = {"Authorization": f"Bearer {address[2]}"}
        assert httpx.get(f"{url}/v1/capabilities", headers=headers, timeout=LONGEST_S).status_code == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0
    assert errors == ""


@pytest.mark.slow
def test_the_examples_of_the_page_run() -> None:
    with serving("room-64") as server:
        url = server.url.rstrip("/")
        names: dict[str, Any] = {}
        for number, block in enumerate(blocks("python")):
            exec(compile(block.replace(URL, url), f"docs/service.md, block {number}", "exec"), names)
        if shutil.which("curl"):
            for line in "".join(blocks("bash")).replace(URL, url).splitlines():
                done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
                assert done.stdout.startswith(('{"', "# HELP")), line
                assert '"error"' not in done.stdout[:20], line


def test_the_page_names_all_requests(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint) as server:
        paths = server.client.get("/v1/openapi.json").json()["paths"]
    text = PAGE.read_text(encoding="utf-8")
    for path, operations in paths.items():
        for method in operations:
            assert f"`{method.upper()} {path}`" in text


def test_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.0.1", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.org", "")))
    assert needed_token("127.0.0.1", None) is None
    assert needed_token("127.0.0.1", "mine") == needed_token("0.0.0.0", "mine") == "mine"
    assert len(needed_token("0.0.0.0", None) or "") > 20
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}/"
        with pytest.raises(InvalidInputError, match=r"cannot listen at 127\.0\.0\.1:"):
            listening("127.0.0.1", port)
