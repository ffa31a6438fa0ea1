"""What a service predicts equals the local simulator to the bit."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hwm_env.remote.arrays import packed
from hwm_env.simulator import WorldSimulator
from hwm_env.types import Float32Array
from tests.service.servers import Server, serving

RNG = np.random.default_rng(0)


def chunks_for(simulator: WorldSimulator, count: int) -> Float32Array:
    """Returns random chunks within the bounds, [T, 17, 25]."""
    statistics = simulator.checkpoint.statistics
    return RNG.uniform(statistics.low, statistics.high, (count, 17, 25)).astype(np.float32)


@pytest.fixture(scope="module", params=["window", "streaming"])
def pair(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> Any:
    """A service and a local simulator with the same settings."""
    options = {"decoding_steps": 2, "temperature": 1.0, "history": request.param}
    with serving(tiny_checkpoint, **options) as server:
        yield server, WorldSimulator.from_pretrained(tiny_checkpoint, strict=True, **options)


def check_clips(clips: list[dict[str, Any]], simulator: WorldSimulator, state: Any, chunks: Float32Array) -> Any:
    """Checks clips against the local simulator; returns its state after them."""
    assert len(clips) == len(chunks)
    for answer, chunk in zip(clips, chunks, strict=True):
        state, clip = simulator.step(state, torch.from_numpy(chunk)[None])
        assert answer["tokens"] == clip.tokens[0].tolist()
        assert answer["confidence"] == float(clip.log_prob[0].mean())
        assert answer["entropy"] == float(clip.entropy[0].mean())
        if answer["frames"] is not None:
            assert (decoded(answer["frames"]) == clip.frames_of(0).numpy()).all()
    return state


def decoded(frames: dict[str, Any]) -> Any:
    contents = [base64.b64decode(data) for data in frames["data"]]
    if frames["encoding"] == "raw":
        return np.frombuffer(contents[0], np.uint8).reshape(frames["shape"])
    return np.stack([np.asarray(Image.open(io.BytesIO(content))) for content in contents])


@pytest.mark.slow
def test_a_batch_of_starts_and_histories(pair: tuple[Server, WorldSimulator]) -> None:
    server, simulator = pair
    starts, chunks = simulator.checkpoint.starts, chunks_for(simulator, 3)
    history = {"tokens": starts.tokens[2, :4].tolist(), "actions": packed(starts.actions[2, :4].numpy())}
    rows = [
        {"start": 1, "seed": 2**62, "actions": chunks.tolist()},
        {"history": history, "seed": 5, "actions": packed(chunks[:2])},
        {"start": 0, "actions": chunks[0].tolist()},
        {"start": 3, "actions": []},
    ]
    answer = server.post("/v1/predict", rows=rows, frames="all", encoding="png")["rows"]
    check_clips(answer[0]["clips"], simulator, simulator.reset([1], [2**62]), chunks)
    state = simulator.begin(starts.tokens[2:3, :4], starts.actions[2:3, :4], [5])
    check_clips(answer[1]["clips"], simulator, state, chunks[:2])
    check_clips(answer[2]["clips"], simulator, simulator.reset([0], [0]), chunks[:1])
    assert answer[3]["clips"] == []
    assert answer[3]["begin"]["tokens"] == starts.tokens[3, -1].tolist()
    assert (
        decoded(answer[3]["begin"]["frames"]) == simulator.tokenizer.decode(starts.tokens[3:4, -1])[0].numpy()
    ).all()


@pytest.mark.slow
def test_saved_states_continue_as_without_an_encoded_history(pair: tuple[Server, WorldSimulator]) -> None:
    server, simulator = pair
    chunks = chunks_for(simulator, 4)
    row = {"start": 1, "seed": 3, "actions": packed(chunks[:2])}
    (first,) = server.post("/v1/predict", rows=[row], states=True)["rows"]
    saved = first["clips"][-1]["state"]
    state = check_clips(first["clips"], simulator, simulator.reset([1], [3]), chunks[:2])
    state = replace(state, encoded=None)
    rows = [
        {"state": saved, "actions": packed(chunks[2:])},
        {"state": saved, "seed": 9, "actions": packed(chunks[2:])},
    ]
    same, other = server.post("/v1/predict", rows=rows)["rows"]
    assert same["begin"]["step"] == 2
    assert same["begin"]["path_entropy"] == first["clips"][-1]["path_entropy"]
    check_clips(same["clips"], simulator, state, chunks[2:])
    check_clips(other["clips"], simulator, replace(state, seeds=(9,)), chunks[2:])


@pytest.mark.slow
def test_sessions_fork_like_the_simulator(pair: tuple[Server, WorldSimulator]) -> None:
    server, simulator = pair
    chunks = chunks_for(simulator, 4)
    session = server.post("/v1/sessions", start=2, seed=11)["id"]
    clips = server.post(f"/v1/sessions/{session}/step", actions=packed(chunks[:2]))["clips"]
    state = check_clips(clips, simulator, simulator.reset([2], [11]), chunks[:2])
    ids = server.post(f"/v1/sessions/{session}/fork", seeds=[1, None, 2])["ids"]
    forks = simulator.fork(state, 3, seeds=[1, 11, 2])
    for row, fork in enumerate(ids):
        clips = server.post(f"/v1/sessions/{fork}/step", actions=chunks[2:].tolist(), frames="last")["clips"]
        after = forks.select([row])
        for answer, chunk in zip(clips, chunks[2:], strict=True):
            after, clip = simulator.step(after, torch.from_numpy(chunk)[None])
            assert answer["tokens"] == clip.tokens[0].tolist()
            assert (decoded(answer["frames"])[0] == clip.last_frame_of(0).numpy()).all()
    clips = server.post(f"/v1/sessions/{session}/step", actions=packed(chunks[2]))["clips"]
    check_clips(clips, simulator, state, chunks[2:3])
    for name in (session, *ids):
        assert server.client.delete(f"/v1/sessions/{name}").status_code == 200


def test_the_state_of_a_session(server: Server, tiny_checkpoint: Path) -> None:
    opened = server.post("/v1/sessions", start=0, seed=4, states=True)
    state = server.client.get(f"/v1/sessions/{opened['id']}/state").json()["state"]
    assert state == opened["begin"]["state"]
    resumed = server.post("/v1/sessions", state=state)
    chunk = np.zeros((17, 25)).tolist()
    answers = [
        server.post(f"/v1/sessions/{session['id']}/step", actions=chunk, frames="all", encoding="raw")
        for session in (opened, resumed)
    ]
    assert answers[0] == answers[1]


def test_encodings_of_frames(server: Server) -> None:
    tokens = server.post("/v1/predict", rows=[{"start": 0, "actions": []}])["rows"][0]["begin"]["tokens"]
    raw, png, jpeg = (
        server.post("/v1/decode", tokens=[tokens], encoding=encoding)["clips"][0] for encoding in ("raw", "png", "jpeg")
    )
    assert raw["shape"] == png["shape"] == [17, 64, 64, 3]
    assert (decoded(raw) == decoded(png)).all()
    assert np.abs(decoded(jpeg).astype(int) - decoded(raw)).mean() < 10
    last = server.post("/v1/decode", tokens=[tokens], frames="last", encoding="raw")["clips"][0]
    assert (decoded(last)[0] == decoded(raw)[-1]).all()


def test_encoding(server: Server, tiny_checkpoint: Path) -> None:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint)
    clips = RNG.integers(0, 256, (2, 17, 64, 64, 3), np.uint8)
    answer = server.post("/v1/encode", clips=packed(clips))
    assert answer["tokens"] == simulator.tokenizer.encode(torch.from_numpy(clips)).tolist()


def test_actions_beyond_the_data_are_clipped_or_refused(server: Server, tiny_checkpoint: Path) -> None:
    high = WorldSimulator.from_pretrained(tiny_checkpoint).checkpoint.statistics.high
    beyond, at = np.tile(high + 1, (17, 1)).tolist(), np.tile(high, (17, 1)).tolist()
    rows = [{"start": 0, "actions": beyond}, {"start": 0, "actions": at}]
    first, second = server.post("/v1/predict", rows=rows)["rows"]
    assert first["clips"][0]["tokens"] == second["clips"][0]["tokens"]
    assert (first["clips"][0]["action_clipped"], second["clips"][0]["action_clipped"]) == (True, False)
    assert first["clips"][0]["action_ood"] == 1.0
    status, reason = server.refusal("/v1/predict", rows=rows, out_of_range="refuse")
    assert status == 422
    assert "row 0: action: hip_yaw would be" in reason


def test_answers_are_strict_json(server: Server) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    for path in ("/v1/capabilities", "/v1/starts/0", "/v1/openapi.json"):
        json.loads(server.client.get(path).text, parse_constant=refuse)
    assert server.client.get("/v1/starts/0").json()["history"]["pose"] is not None
