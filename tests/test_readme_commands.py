"""Runs the README's four commands, from a directory of videos to a world that plays, as they stand there."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hwm_env.reference.rendering import can_render

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_from_a_directory_of_videos_to_a_world_that_plays(tmp_path: Path) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot render on this machine")
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    (commands,) = [block.splitlines() for block in blocks if block.startswith("hwm-env tokenize my-videos")]
    assert len(commands) == 4
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shown = ""
    for command in ["hwm-env collect my-videos --videos --episodes 4", *commands]:
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        shown = done.stdout
    assert shown == "(64, 64, 3)\n"
    run = tmp_path / "runs/mine"
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [25, 50]
    assert log[1]["validation_next_clip_loss"] < log[0]["validation_next_clip_loss"] - 0.5, "it has learned nothing"
    for directory in (run / "comparisons", run / "videos"):
        videos = list(directory.glob("sample_*_comparison.mp4"))
        assert len(videos) == 4
        assert all(video.stat().st_size > 10_000 for video in videos)
        assert json.loads((directory / "metrics.json").read_text())["mean"]["model"]["psnr_db"] > 8
    weights = load_file(run / "checkpoint/model.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())
