"""The commands of docs/lerobot.md and docs/robots.md, with data sets in the published layout."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from hwm_env.cli import main
from tests.data.lerobot_files import HEAD, WRIST, Episode, counting, write_lerobot

pytest.importorskip("av")
pytest.importorskip("pyarrow")
pytest.importorskip("accelerate")

DOCS = Path(__file__).parents[1] / "docs"
SMALLER = {
    "hwm-env train": "--steps 2 --report-every 2 --validation-samples 2 --model.num-layers 2"
    " --model.shared-layers-start 1",
    "hwm-env generate": "--steps 2 --samples 1",
}
"""Options that shorten the commands of the pages."""
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


def read_page(name: str) -> tuple[str, list[str]]:
    """Returns the mapping and the commands of a page."""
    page = (DOCS / name).read_text(encoding="utf-8")
    (mapping,) = re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)
    return mapping, re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)[0].splitlines()


def run(command: str) -> None:
    """Runs a command line of hwm-env in this process, with fewer steps."""
    _, *words = shlex.split(command)
    assert main([*words, *SMALLER.get(f"hwm-env {words[0]}", "").split()]) == 0


@pytest.mark.slow
def test_from_a_data_set_to_a_world_that_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lerobot(tmp_path / "walks", "v3.0", episodes(), names=NAMES, cameras=(HEAD, WRIST), size=(64, 96))
    mapping, (tokenize, *commands, play) = read_page("lerobot.md")
    (tmp_path / "walks.json").write_text(mapping)
    monkeypatch.chdir(tmp_path)
    assert len(commands) == 2
    for command in (tokenize, *commands):
        run(command)
    capsys.readouterr()
    exec(shlex.split(play)[-1], {})
    assert capsys.readouterr().out == "(64, 64, 3)\n"
    metadata = json.loads(Path("data/walks/metadata.json").read_text())
    assert metadata["camera"] == HEAD
    assert metadata["mapping"]["columns"]["linear_velocity"] == "action[3]"
    assert len(metadata["filled_actions"]) == 23
    assert len(list(Path("runs/walks/videos").glob("*.mp4"))) == 1
    # The older layout gives the same tokens.
    write_lerobot(tmp_path / "old/walks", "v2.1", episodes(), names=NAMES, cameras=(HEAD, WRIST), size=(64, 96))
    run(tokenize.replace("lerobot:walks data/walks", "lerobot:old/walks data/old"))
    files = list(Path("data/walks").rglob("*.bin"))
    assert len(files) == 3 * 4
    for file in files:
        assert (Path("data/old") / file.relative_to("data/walks")).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_from_the_data_of_another_robot_to_a_world_with_its_joints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping, (*commands, play) = read_page("robots.md")
    joints = json.loads(mapping)["robot"]["joints"]
    names = tuple(joint["name"] for joint in joints)
    made = [replace(one, states=0.4 * np.sin(one.states)) for one in counting((CLIPS * 17,) * 4, size=len(names))]
    write_lerobot(tmp_path / "pick", "v3.0", made, names=names, size=(64, 96))
    (tmp_path / "arm.json").write_text(mapping)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        run(command)
    metadata = json.loads(Path("data/pick/metadata.json").read_text())
    assert metadata["robot"] == json.loads(mapping)["robot"]
    assert main(["inspect", "data/pick"]) == 0
    assert "| wrist_roll.pos |" in capsys.readouterr().out
    exec(shlex.split(play)[-1], {})
    assert capsys.readouterr().out == f"{names} (17, 6)\n"
    env = gymnasium.make("HWM-v0", checkpoint="runs/pick/checkpoint", task=None)
    np.testing.assert_allclose(env.action_space.low[0], [joint["low"] for joint in joints])
    np.testing.assert_allclose(env.action_space.high[0], [joint["high"] for joint in joints])
