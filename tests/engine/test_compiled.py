"""Env steps and frames by OpenVINO, and by the exported example, against the same by PyTorch."""

import logging
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from hwm_env.checkpoint import save
from hwm_env.decoding.config import DecodingConfig
from hwm_env.exporting import ExportConfig, export
from hwm_env.simulator import Clip, WorldSimulator
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY
from tests.engine.worlds import GREEDY, NUM_PAST_CLIPS, SAMPLED, small_checkpoint

for package in ("onnxscript", "openvino"):
    pytest.importorskip(package)

pytestmark = pytest.mark.slow

STARTS, SEEDS = [0, 1, 2], [5, 6, 7]


def chunks(step: int, rows: int = len(STARTS)) -> torch.Tensor:
    chunk = torch.rand(rows, 17, 25, generator=torch.Generator().manual_seed(step))
    chunk[..., LINEAR_VELOCITY], chunk[..., ANGULAR_VELOCITY] = 1.0, 0.3
    return chunk


MODES = pytest.mark.parametrize(
    ("decoding", "reads_scene"), [(SAMPLED, False), (GREEDY, True)], ids=["sampled, prior", "greedy, scene inputs"]
)


@cache
def simulators(decoding: DecodingConfig = SAMPLED, reads_scene: bool = False) -> tuple[WorldSimulator, WorldSimulator]:
    """Returns a simulator in PyTorch and one in OpenVINO, which the tests share."""
    checkpoint = small_checkpoint(decoding, reads_scene=reads_scene)
    return WorldSimulator(checkpoint), WorldSimulator(checkpoint, backend="openvino")


def assert_like(clip: Clip, expected: Clip) -> None:
    assert torch.equal(clip.tokens, expected.tokens)
    for name in ("log_prob", "entropy", "path"):
        torch.testing.assert_close(getattr(clip, name), getattr(expected, name), rtol=1e-3, atol=1e-3, equal_nan=True)


@MODES
def test_twenty_steps_are_those_of_pytorch(decoding: DecodingConfig, reads_scene: bool) -> None:
    """Tokens and poses are equal, also against walls, with an unknown pose and with the same noise."""
    eager, engine = simulators(decoding, reads_scene)
    poses = eager.checkpoint.starts.poses[STARTS].clone()
    poses[1] = torch.nan
    history = eager.checkpoint.starts.tokens[STARTS], eager.checkpoint.starts.actions[STARTS]
    states = [each.begin(*history, SEEDS, poses=poses) for each in (eager, engine)]
    for step in range(20):
        (states[0], expected), (states[1], clip) = (
            each.step(state, chunks(step)) for each, state in zip((eager, engine), states, strict=True)
        )
        assert_like(clip, expected)
        assert states[0].belief is not None
        assert states[1].belief is not None
        for part, other in zip(states[1].belief, states[0].belief, strict=True):
            torch.testing.assert_close(part, other, rtol=1e-4, atol=1e-4, equal_nan=True)
    # The encodings are those of PyTorch too, which can continue.
    assert_like(eager.step(states[1], chunks(20))[1], eager.step(states[0], chunks(20))[1])


def test_rows_do_not_depend_on_their_batch() -> None:
    _, engine = simulators()
    together = engine.reset(STARTS, SEEDS)
    alone = engine.reset(STARTS[1:2], SEEDS[1:2])
    for step in range(2):
        together, batch = engine.step(together, chunks(step))
        alone, clip = engine.step(alone, chunks(step)[1:2])
        for name in ("tokens", "log_prob", "entropy", "path", "frames"):
            assert torch.equal(getattr(clip, name)[0], getattr(batch, name)[1]), name


def test_a_short_history_is_pytorchs_until_it_is_full() -> None:
    eager, engine = simulators()
    starts = eager.checkpoint.starts
    states = [
        each.begin(starts.tokens[:1, -1:], starts.actions[:1, -1:], [0], poses=starts.poses[:1])
        for each in (eager, engine)
    ]
    for step in range(NUM_PAST_CLIPS):
        (states[0], expected), (states[1], clip) = (
            each.step(state, chunks(step, 1)) for each, state in zip((eager, engine), states, strict=True)
        )
        assert_like(clip, expected)
        assert torch.equal(clip.log_prob, expected.log_prob) == (step < NUM_PAST_CLIPS - 1)


def test_frames_are_those_of_pytorch() -> None:
    eager, engine = simulators()
    tokens = eager.checkpoint.starts.tokens[STARTS, -1]
    frames, expected = engine.tokenizer.decode(tokens), eager.tokenizer.decode(tokens)
    assert (frames.int() - expected.int()).abs().max() <= 1
    assert torch.equal(engine.tokenizer.decode_last(tokens), frames[:, -1])


def test_frames_in_bfloat16_are_close() -> None:
    checkpoint = small_checkpoint()
    tokens = checkpoint.starts.tokens[STARTS, -1]
    engine = WorldSimulator(checkpoint, backend="openvino", precision="bfloat16")
    frames = engine.tokenizer.decode(tokens)
    errors = (frames.int() - checkpoint.tokenizer.decode(tokens).int()).abs().float()
    assert errors.mean() < 1


def test_a_copy_continues_without_a_conversion(caplog: pytest.LogCaptureFixture) -> None:
    _, engine = simulators()
    state, _ = engine.step(engine.reset(STARTS, SEEDS), chunks(0))
    expected = engine.step(state, chunks(1))[1]
    with caplog.at_level(logging.INFO):
        clip = pickle.loads(pickle.dumps(engine)).step(state, chunks(1))[1]
        assert torch.equal(clip.tokens, expected.tokens)
        assert torch.equal(clip.frames, expected.frames)
    assert "Converting" not in caplog.text


def test_an_environment_steps(tmp_path: Path) -> None:
    save(small_checkpoint(), tmp_path)
    observations = []
    for backend in ("torch", "openvino"):
        env = gymnasium.make("HWM-v0", checkpoint=tmp_path, task=None, obs_mode="clip", backend=backend)
        env.reset(seed=0, options={"start": 0})
        action = np.zeros(env.action_space.shape, np.float32)
        observations.append(env.step(action)[0].astype(int))
    assert np.abs(observations[0] - observations[1]).max() <= 1


PLAY = """
import runpy, sys
sys.modules.update(torch=None, hwm_env=None)
sys.argv[0] = "play.py"
runpy.run_path("play.py", run_name="__main__")
"""
"""Runs the exported example where PyTorch and this package cannot be imported."""


def test_an_export_needs_no_onnxruntime() -> None:
    code = "import sys; sys.modules['onnxruntime'] = None; from hwm_env.exporting import EXAMPLE; print(EXAMPLE.name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "play.py"


@MODES
def test_the_exported_example_plays_as_the_simulator(
    tmp_path: Path, decoding: DecodingConfig, reads_scene: bool
) -> None:
    pytest.importorskip("onnxruntime")
    simulator, _ = simulators(decoding, reads_scene)
    save(simulator.checkpoint, tmp_path / "checkpoint")
    directory = export(ExportConfig(checkpoint=str(tmp_path / "checkpoint"), out=tmp_path / "onnx"))
    options = ["--start", "1", "--seed", "7", "--steps", "4", "--out", str(tmp_path / "played.npz")]
    command = [sys.executable, "-c", PLAY, *options]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    assert "frames a second" in done.stdout
    played, state = np.load(tmp_path / "played.npz"), simulator.reset([1], [7])
    for chunk, tokens, frames in zip(played["chunks"], played["tokens"], played["frames"], strict=True):
        state, clip = simulator.step(state, torch.from_numpy(chunk)[None])
        assert np.array_equal(clip.tokens[0], tokens)
        assert np.abs(clip.frames[0].numpy().astype(int) - frames).max() <= 1
