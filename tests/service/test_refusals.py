"""Malformed requests are refused with a status of 4xx and the reason, and change nothing."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwm_env.service.endpoints import MOST_BYTES
from tests.service.servers import Server, serving

STILL = np.zeros((17, 25)).tolist()
ROW = {"start": 0, "seed": 1, "actions": STILL}


def array(dtype: str, shape: list[int]) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data": "AA=="}


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("/v1/predict", b"", 400, "expected JSON, got b''"),
        ("/v1/predict", b"{", 400, "expected JSON"),
        ("/v1/predict", b"\xff\xfe\x00", 400, "expected JSON"),
        ("/v1/predict", b"[" * 100_000, 400, "expected JSON"),
        ("/v1/predict", b'{"rows": [NaN]}', 400, "NaN is not JSON"),
        ("/v1/predict", b"[]", 422, "PredictRequest: Input should be"),
        ("/v1/predict", b"{}", 422, "rows: Field required"),
        ("/v1/predict", b'{"rows": []}', 422, "rows: "),
        ("/v1/predict", {"rows": [ROW] * 65}, 422, "rows: "),
        ("/v1/predict", {"rows": [ROW], "extra": 1}, 422, "extra: Extra inputs are not permitted"),
        ("/v1/predict", {"rows": [ROW], "frames": "first"}, 422, "frames: Input should be 'none', 'last' or 'all'"),
        ("/v1/predict", {"rows": [{**ROW, "start": 99}]}, 422, "row 0: start must be in 0..3, got 99"),
        ("/v1/predict", {"rows": [ROW, {**ROW, "start": "0"}]}, 422, "rows.1.start: Input should be a valid integer"),
        ("/v1/predict", {"rows": [{**ROW, "seed": -1}]}, 422, "rows.0.seed: "),
        ("/v1/predict", {"rows": [{**ROW, "seed": 2**63}]}, 422, "rows.0.seed: "),
        ("/v1/predict", {"rows": [{**ROW, "state": "x"}]}, 422, "exactly one of start, history and state"),
        ("/v1/predict", {"rows": [{"actions": STILL}]}, 422, "exactly one of start, history and state, got none"),
        ("/v1/predict", {"rows": [{"state": "x", "actions": STILL}]}, 422, "state is not a saved state"),
        ("/v1/predict", {"rows": [{**ROW, "actions": [[0.0] * 25] * 16}]}, 422, "got shape [16, 25]"),
        ("/v1/predict", {"rows": [{**ROW, "actions": [[0.0], [0.0, 1.0]]}]}, 422, "rows.0.actions: "),
        ("/v1/predict", {"rows": [{**ROW, "actions": "fast"}]}, 422, "rows.0.actions: "),
        ("/v1/predict", {"rows": [{**ROW, "actions": [[1e39] * 25] * 17}]}, 422, "must be finite numbers, got 1e+39"),
        ("/v1/predict", {"rows": [{**ROW, "actions": [[True] * 25] * 17}]}, 422, "rows.0.actions: "),
        ("/v1/predict", {"rows": [{**ROW, "actions": array("float32", [2])}]}, 422, "has 8 bytes, got 1"),
        ("/v1/predict", {"rows": [{**ROW, "actions": array("O", [2])}]}, 422, "a dtype of"),
        ("/v1/predict", {"rows": [{**ROW, "actions": array("float32", [-2])}]}, 422, "got shape [-2]"),
        ("/v1/predict", {"rows": [{**ROW, "actions": [STILL] * 300}]}, 422, "at most 256 clips a request"),
        ("/v1/sessions", {"start": True}, 422, "start: Input should be a valid integer"),
        ("/v1/sessions", {"history": {"tokens": [[[[0]]]], "actions": []}}, 422, "history tokens must be integers"),
        ("/v1/sessions", {"history": {"tokens": [0.5], "actions": []}}, 422, "history tokens must be whole numbers"),
        ("/v1/sessions/none/step", {"actions": STILL}, 404, "there is no such session"),
        ("/v1/sessions/none/step", {"actions": []}, 422, "actions must be finite numbers [17, 25]"),
        ("/v1/sessions/none/fork", {"seeds": []}, 422, "seeds: "),
        ("/v1/decode", {"tokens": [[[[0]]]]}, 422, "tokens must be whole numbers in 0..63999"),
        ("/v1/decode", {"tokens": np.full((1, 3, 8, 8), 64_000).tolist()}, 422, "tokens must be whole numbers in 0"),
        ("/v1/encode", {"clips": [0]}, 422, "clips must have shape [B, 17, 64, 64, 3]"),
        ("/v1/nothing", {}, 404, "there is no POST /v1/nothing"),
        ("/v1/health", {}, 405, "there is no POST /v1/health"),
    ],
)  # fmt: skip
def test_reasons(server: Server, path: str, body: Any, status: int, reason: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = server.client.post(path, content=content)
    assert response.status_code == status, response.text
    assert reason in response.json()["error"]


def test_one_that_is_too_large(server: Server) -> None:
    response = server.client.post("/v1/predict", content=b" " * (MOST_BYTES + 1))
    assert response.status_code == 413
    assert "at most 16777216 bytes" in response.json()["error"]


def test_starts_that_do_not_exist(server: Server) -> None:
    for name in ("4", "-1", "one", "1" * 400, "²"):
        response = server.client.get(f"/v1/starts/{name}")
        assert response.status_code == 422, name
        assert "start" in response.json()["error"]


def test_a_token_is_needed(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, token="secret", decoding_steps=1) as server:
        assert server.client.get("/v1/capabilities").status_code == 200
        for header in ("", "Bearer wrong", "Basic secret", "Bearer", "secret"):
            response = server.client.get("/v1/capabilities", headers={"Authorization": header})
            assert response.status_code == 401, header
            assert "Authorization: Bearer TOKEN" in response.json()["error"]
            assert server.client.get("/v1/health", headers={"Authorization": header}).status_code == 200
            assert server.client.get("/v1/metrics", headers={"Authorization": header}).status_code == 401
        assert server.client.get("/v1/openapi.json").json()["security"] == [{"token": []}]


def test_other_hosts_and_pages_are_refused(server: Server) -> None:
    assert server.client.get("/v1/health", headers={"Host": "evil.example"}).status_code == 403
    assert server.client.get("/v1/health", headers={"Origin": "http://evil.example"}).status_code == 403


@pytest.mark.slow
def test_too_many_requests(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, decoding_steps=1, requests_a_second=5) as server:
        responses = [server.client.get("/v1/health") for _ in range(20)]
        refused = [response for response in responses if response.status_code == 429]
        assert refused
        assert refused[0].headers["Retry-After"] == "1"
        assert "too many requests a second" in refused[0].json()["error"]


VALUES: tuple[Any, ...] = (
    *(None, True, -1, 10**30, 0.5, 1e308, "", "x", "\x00", [], {}, [[]], [None], ["a"], {"a": 1}, [[1], 2]),
    *({"dtype": "float32", "shape": [1], "data": "!"}, {"dtype": "float32"}, [[[[[[[1]]]]]]]),
)


def places(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Returns the paths of all values but single numbers of arrays."""
    found = [at] if at else []
    if isinstance(content, dict):
        for key in content:
            found += places(content[key], (*at, key))
    elif isinstance(content, list) and content and isinstance(content[0], dict):
        found += places(content[0], (*at, 0))
    return found


def mutated(rng: random.Random, body: Any) -> bytes:
    """Returns a request in which something is wrong: a value, a name or the text."""
    content = copy.deepcopy(body)
    *above, last = rng.choice(places(content))
    part = content
    for key in above:
        part = part[key]
    kind = rng.randrange(4)
    if kind == 0:
        part[last] = rng.choice(VALUES)
    elif kind == 1 and isinstance(part, dict):
        part[f"{last}_"] = part.pop(last)
    elif kind == 2 and isinstance(part, dict):
        part["unknown"] = rng.choice(VALUES)
    else:
        text = json.dumps(content)
        return text[: rng.randrange(len(text))].encode()
    return json.dumps(content).encode()


@pytest.mark.slow
def test_a_thousand_malformed_requests_are_refused_with_a_reason(server: Server) -> None:
    rng = random.Random(0)
    history = server.client.get("/v1/starts/0").json()["history"]
    session = server.post("/v1/sessions", start=1, seed=1, states=True)
    state = session["begin"]["state"]
    bodies = {
        "/v1/predict": {"rows": [{"start": 0, "seed": 1, "actions": STILL}], "frames": "last", "encoding": "png"},
        "/v1/sessions": {"history": history, "seed": 1, "states": False},
        f"/v1/sessions/{session['id']}/step": {"actions": [[0.0] * 25] * 16, "after": 0, "out_of_range": "clip"},
        f"/v1/sessions/{session['id']}/fork": {"seeds": [1, 2, "x"]},
        "/v1/decode": {"tokens": [1], "frames": "all"},
        "/v1/encode": {"clips": [[1]]},
    }
    statuses: dict[int, int] = {}
    valid = 0
    while sum(statuses.values()) < 1000:
        path = rng.choice(list(bodies))
        response = server.client.post(path, content=mutated(rng, bodies[path]))
        if response.status_code == 200:
            valid += 1  # A value that is allowed, such as null for an option, was drawn.
            if path == "/v1/sessions":
                server.client.delete(f"/v1/sessions/{response.json()['id']}")
            continue
        assert 400 <= response.status_code < 500, (path, response.text)
        assert len(response.json()["error"]) > 10
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
    assert valid < 100
    assert set(statuses) == {400, 422}
    after = server.client.get(f"/v1/sessions/{session['id']}/state").json()["state"]
    assert after == state


@pytest.mark.slow
def test_damaged_states_are_refused(server: Server) -> None:
    rng = random.Random(0)
    state = server.post("/v1/sessions", start=1, states=True)["begin"]["state"]
    refused = 0
    for _ in range(100):
        letters = list(state)
        for _ in range(rng.choice([1, 5, 100])):
            letters[rng.randrange(len(letters) // 50)] = rng.choice("AZaz09+/=")
        body = {"state": "".join(letters[: rng.choice([len(letters), 500])])}
        response = server.client.post("/v1/sessions", json=body)
        if response.status_code == 200:
            # Another seed, or the same letters.
            server.client.delete(f"/v1/sessions/{response.json()['id']}")
            continue
        assert response.status_code == 422
        assert "state" in response.json()["error"]
        refused += 1
    assert refused > 80
