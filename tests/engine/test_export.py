"""`hwm-env export`: the exported example plays without PyTorch, and as the simulator does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.checkpoint import load, save
from hwm_env.exporting import ExportConfig, export
from hwm_env.reporting import Caller
from hwm_env.simulator import WorldSimulator
from tests.engine.worlds import small_checkpoint

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package)

PLAY = """
import runpy, sys
sys.modules.update(torch=None, hwm_env=None)
sys.argv[0] = "play.py"
runpy.run_path("play.py", run_name="__main__")
"""


def test_the_example_plays_as_the_simulator(tmp_path: Path) -> None:
    save(small_checkpoint(), tmp_path / "checkpoint")
    shown: list[str] = []
    directory = export(
        ExportConfig(checkpoint=str(tmp_path / "checkpoint"), out=tmp_path / "onnx"), Caller(show=shown.append)
    )
    assert "play.py" in shown[0]
    options = ["--start", "1", "--seed", "7", "--steps", "4", "--out", str(tmp_path / "played.npz")]
    run = subprocess.run(
        [sys.executable, "-c", PLAY, *options], cwd=directory, capture_output=True, text=True, check=True
    )
    assert "frames a second" in run.stdout
    played = np.load(tmp_path / "played.npz")
    simulator = WorldSimulator(load(tmp_path / "checkpoint"))
    state = simulator.reset([1], [7])
    for chunk, tokens, frames in zip(played["chunks"], played["tokens"], played["frames"], strict=True):
        state, clip = simulator.step(state, torch.from_numpy(chunk)[None])
        assert np.array_equal(clip.tokens[0], tokens)
        assert np.abs(clip.frames[0].numpy().astype(int) - frames).max() <= 1
