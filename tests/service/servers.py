"""Services in threads of this process, over real sockets."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from hwm_env.service.network import listening, url_of
from hwm_env.service.serving import ServiceConfig, make_server

LONGEST_S = 300.0
"""Longer than anything takes on a busy machine."""


@dataclass(frozen=True)
class Server:
    url: str
    client: httpx.Client

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        response = self.client.post(path, json=body)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def refusal(self, path: str, **body: Any) -> tuple[int, str]:
        response = self.client.post(path, json=body)
        return response.status_code, response.json()["error"]

    def metric(self, name: str) -> float:
        lines = self.client.get("/v1/metrics").text.splitlines()
        (value,) = [line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name]
        return float(value)


@contextmanager
def serving(checkpoint: Path | str, *, token: str | None = None, **options: Any) -> Iterator[Server]:
    """Serves a checkpoint at a free port of this machine."""
    options = {"requests_a_second": 100_000, "port": 0, **options}
    config = ServiceConfig(checkpoint=str(checkpoint), **options)
    with listening(config.host, config.port) as listener:
        server = make_server(config, listener, token)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = url_of(listener)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with httpx.Client(base_url=url, headers=headers, timeout=LONGEST_S) as client:
                yield Server(url, client)
        finally:
            server.should_exit = True
            thread.join(LONGEST_S)
            assert not thread.is_alive()
