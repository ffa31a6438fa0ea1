"""The four commands of docs/lerobot.md, with a data set in the published layout."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.lerobot_files import HEAD, WRIST, Episode, counting, write_lerobot

pytest.importorskip("av")
pytest.importorskip("pyarrow")
pytest.importorskip("accelerate")

PAGE = Path(__file__).parents[1] / "docs/lerobot.md"
CLIPS = 12
NAMES = ("head_tilt", "wheel_speed", "gripper", "speed")


def episodes() -> list[Episode]:
    """Pictures that brighten by the speed, which the table has too."""
    made = []
    for index, episode in enumerate(counting((CLIPS * 17,) * 4, size=len(NAMES))):
        speed = np.sin(np.arange(len(episode.states)) / 20 + index)
        states = np.zeros_like(episode.states)
        states[:, 3] = speed
        greys = np.clip(128 + 4 * np.cumsum(speed), 20, 235).astype(np.uint8)
        made.append(replace(episode, states=states, greys=greys))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_from_a_data_set_to_a_world_that_plays(version: str, tmp_path: Path) -> None:
    write_lerobot(tmp_path / "walks", version, episodes(), names=NAMES, cameras=(HEAD, WRIST), size=(64, 96))
    sections = PAGE.read_text(encoding="utf-8")
    (mapping,) = re.findall(r"```json\n(.*?)```", sections, flags=re.DOTALL)
    (tmp_path / "walks.json").write_text(mapping)
    commands = re.findall(r"```sh\n(.*?)```", sections, flags=re.DOTALL)[0].splitlines()
    assert len(commands) == 4
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shown = ""
    for command in commands:
        if command.startswith("hwm-env train"):
            command += " --steps 4 --report-every 2 --model.num-layers 2 --model.shared-layers-start 1"
        if command.startswith("hwm-env generate"):
            command += " --steps 2 --samples 1"
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        shown = done.stdout
    assert shown == "(64, 64, 3)\n"
    metadata = json.loads((tmp_path / "data/walks/metadata.json").read_text())
    assert metadata["camera"] == HEAD
    assert metadata["mapping"]["columns"]["linear_velocity"] == "action[3]"
    assert len(metadata["filled_actions"]) == 23
    assert len(list((tmp_path / "runs/walks/videos").glob("*.mp4"))) == 1
