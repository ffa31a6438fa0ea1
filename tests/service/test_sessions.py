"""Sessions: expiry, limits, conflicts, and clients that disappear."""

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from hwm_env.envs.learned import LearnedMoment
from hwm_env.service.sessions import Sessions, SessionsFullError, UnknownSessionError
from tests.service.servers import LONGEST_S, Server, serving

STILL = np.zeros((17, 25)).tolist()
MOMENT = cast(LearnedMoment, None)


def test_sessions_expire_after_their_last_use() -> None:
    now_s = 0.0
    sessions = Sessions(3, 10.0, lambda: now_s)
    first, second = sessions.open(MOMENT), sessions.open(MOMENT)
    now_s = 8.0
    sessions.get(first.id)
    now_s = 12.0
    assert sessions.get(first.id) is first
    with pytest.raises(UnknownSessionError, match="expired after 10 s"):
        sessions.get(second.id)
    assert (len(sessions), sessions.expired) == (1, 1)


def test_a_session_does_not_expire_while_it_advances() -> None:
    now_s = 0.0
    sessions = Sessions(3, 10.0, lambda: now_s)
    session = sessions.open(MOMENT)
    with sessions.advancing(session.id, None):
        now_s = 100.0
        assert len(sessions) == 1
    assert sessions.get(session.id) is session


def test_their_number_is_limited_until_some_expire() -> None:
    now_s = 0.0
    sessions = Sessions(2, 10.0, lambda: now_s)
    ids = {sessions.open(MOMENT).id for _ in range(2)}
    assert len(ids) == 2
    with pytest.raises(SessionsFullError, match="2 of 2 sessions are open"):
        sessions.open(MOMENT)
    now_s = 10.1
    sessions.open(MOMENT)


@pytest.mark.slow
def test_over_http(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, decoding_steps=1, sessions=2, expires_s=0.5) as server:
        first = server.post("/v1/sessions", start=0)["id"]
        server.post("/v1/sessions", start=1)
        status, reason = server.refusal("/v1/sessions", start=2)
        assert (status, reason[:26]) == (429, "2 of 2 sessions are open; ")
        assert server.refusal(f"/v1/sessions/{first}/fork", seeds=[1])[0] == 429
        assert server.metric("hwm_sessions") == 2
        time.sleep(0.6)
        assert server.refusal(f"/v1/sessions/{first}/step", actions=STILL)[0] == 404
        assert (server.metric("hwm_sessions"), server.metric("hwm_sessions_expired")) == (0, 2)
        server.post("/v1/sessions", start=2)


def test_a_request_can_name_where_the_session_is(server: Server) -> None:
    path = f"/v1/sessions/{server.post('/v1/sessions', start=0)['id']}"
    server.post(f"{path}/step", actions=STILL, after=0)
    status, reason = server.refusal(f"{path}/step", actions=STILL, after=0)
    assert (status, reason) == (409, "the session has predicted 1 clips, not 0")
    server.post(f"{path}/step", actions=STILL, after=1)
    assert server.client.delete(path).status_code == 200
    assert server.client.delete(path).status_code == 404
    assert server.refusal(f"{path}/step", actions=STILL)[0] == 404


@pytest.mark.slow
def test_one_request_at_a_time(server: Server) -> None:
    path = f"/v1/sessions/{server.post('/v1/sessions', start=0)['id']}"
    statuses: list[int] = []
    long = [STILL] * 8

    def step() -> None:
        response = server.client.post(f"{path}/step", json={"actions": long})
        statuses.append(response.status_code)

    threads = [threading.Thread(target=step) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONGEST_S)
    assert set(statuses) <= {200, 409}
    assert 200 in statuses
    server.post(f"{path}/step", actions=STILL, after=8 * statuses.count(200))


@pytest.mark.slow
def test_a_client_that_is_killed_costs_the_others_nothing(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, decoding_steps=1, expires_s=0.5) as server:
        rows = [{"start": 1, "seed": 3, "actions": [STILL] * 6}]
        expected = server.post("/v1/predict", rows=rows)
        victim = server.post("/v1/sessions", start=0)["id"]
        killed = [
            request(server, f"/v1/sessions/{victim}/step", [STILL] * 200),
            *(request(server, "/v1/predict", None) for _ in range(3)),
        ]
        answers: list[dict[str, Any]] = []
        other = threading.Thread(target=lambda: answers.append(server.post("/v1/predict", rows=rows)))
        other.start()
        for connection in killed:
            connection.close()
        other.join(LONGEST_S)
        assert answers == [expected]
        # The rest of the 200 chunks is not computed: the session is free again soon, and expires.
        deadline = time.monotonic() + LONGEST_S
        while server.metric("hwm_sessions") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.metric("hwm_sessions") == 0
        assert server.metric("hwm_batch_rows_sum") < 200


def request(server: Server, path: str, actions: list[Any] | None) -> socket.socket:
    """Sends a request, or only its beginning, and does not wait for the answer."""
    body = json.dumps({"actions": actions}).encode() if actions else b'{"rows": ['
    length = len(body) if actions else 10_000
    host, port = server.client.base_url.host, server.client.base_url.port
    connection = socket.create_connection((host, port))
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + body)
    time.sleep(0.1)
    return connection
