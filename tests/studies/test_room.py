"""The stages of `make room-64`: their commands and order, and in miniature from nothing to a world that plays."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch

import hwm_env  # noqa: F401 (registers the environments)
from docs.studies import room
from docs.studies.room import RoomConfig, make_room
from docs.studies.room_recipes import TRAIN_EPISODES, recipes_for
from hwm_env import checkpoint as checkpoints
from hwm_env.cli.parsing import parse
from hwm_env.errors import HWMError
from hwm_env.reference.rendering import can_render

STAGES = {
    "record-train": "collect",
    "record-validation": "collect",
    "tokenizer": "train-tokenizer",
    "encode-train": "tokenize",
    "encode-validation": "tokenize",
    "map": "train-scene",
    "read-out": "train-readout",
    "scene": "train-scene",
    "world-model": "train",
    "decoder": "train-decoder",
    "calibration": "calibrate",
}


class Commands:
    """Stands for `subprocess.Popen`: notes commands and runs nothing; `failing` is a command that fails."""

    def __init__(self) -> None:
        self.noted: list[list[str]] = []
        self.failing = ""

    def __call__(self, command: list[str], env: dict[str, str]) -> "Commands":
        self.noted.append(command[command.index("hwm_env") + 1 :])
        return self

    def wait(self) -> int:
        return int(self.noted[-1][0] == self.failing)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    noted = Commands()
    monkeypatch.setattr(subprocess, "Popen", noted)
    monkeypatch.setattr(room, "check_device", lambda name: torch.device("cpu" if name == "auto" else name))
    for name in ("_untrained", "_assembled"):
        monkeypatch.setattr(room, name, lambda *_: None)
    monkeypatch.setattr(checkpoints, "save", lambda *_: None)
    return noted


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"minutes": 1.0},
        {"device": "cuda", "minutes": 600.0},
        {"initial": "room-64", "image_size": 128, "decoding_steps": 0},
    ],
)
def test_every_stage_is_a_command_with_valid_options(tmp_path: Path, commands: Commands, options: Any) -> None:
    make_room(RoomConfig(directory=tmp_path / "work", destination=tmp_path / "out", **options))
    expected = [name for stage, name in STAGES.items() if stage != "tokenizer" or "initial" not in options]
    assert [words[0] for words in commands.noted] == expected
    for words in commands.noted:
        parse(words)
    joined = [shlex.join(words) for words in commands.noted]
    assert ("--minutes" in joined[-2]) == ("minutes" in options)
    assert sum("--tokenizer room-64" in words for words in joined) == (2 if "initial" in options else 0)
    started = [words[0] for words in commands.noted if "--initial" in words]
    assert started == (["train-scene", "train-scene", "train"] if "initial" in options else [])
    sizes = [words[words.index("--image-size") + 1] for words in commands.noted if words[0] == "collect"]
    assert sizes == [str(options.get("image_size", 64))] * 2
    (training,) = (words for words in commands.noted if words[0] == "train")
    steps = int(training[training.index("--steps") + 1])
    assert (steps < 1000) == (options.get("decoding_steps") == 0), "a model that takes no part is hardly trained"


def test_finished_stages_are_not_repeated(tmp_path: Path, commands: Commands) -> None:
    config = RoomConfig(directory=tmp_path / "work", destination=tmp_path / "out", minutes=1.0)
    commands.failing = "tokenize"
    with pytest.raises(HWMError, match="the stage encode-train ended with exit code 1"):
        make_room(config)
    assert [words[0] for words in commands.noted] == list(STAGES.values())[:4]
    commands.noted.clear()
    commands.failing = ""
    (tmp_path / "work" / "scene").mkdir()
    make_room(config)
    assert [words[0] for words in commands.noted] == list(STAGES.values())[3:]
    assert "--resume" in commands.noted[2], "an interrupted training continues"
    commands.noted.clear()
    make_room(config)
    assert commands.noted == []


@pytest.mark.parametrize("scene_alone", [False, True])
def test_minutes_are_divided_among_the_trainings(scene_alone: bool) -> None:
    recipes = recipes_for("cpu", 8.0, scene_alone=scene_alone)
    shares = [
        options[options.index(name) + 1]
        for options, name in (
            (recipes.tokenizer, "--minutes"),
            (recipes.readout, "--minutes"),
            (recipes.scene, "--model.minutes"),
            (recipes.world_model, "--minutes"),
            (recipes.decoder, "--minutes"),
        )
    ]
    assert sum(map(float, shares)) == pytest.approx(8.0)
    assert (float(shares[2]) > 10 * float(shares[3])) == scene_alone
    assert 20 <= recipes.train_episodes < TRAIN_EPISODES
    assert recipes_for("cuda", 1e4).train_episodes == TRAIN_EPISODES


@pytest.mark.exhaustive
def test_a_few_seconds_of_training_make_a_checkpoint_that_plays(tmp_path: Path) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot render on this machine")
    made = tmp_path / "made"
    make_room(RoomConfig(directory=tmp_path / "work", destination=made, minutes=0.2, device="cpu"))
    assert all(file.stat().st_size < 16 * 2**20 for file in made.iterdir())
    checkpoint = checkpoints.load(made)
    assert checkpoint.scene is not None
    assert checkpoint.model.config.scene_width == checkpoint.scene.input_width
    assert checkpoint.readout is not None
    assert checkpoint.trust is not None
    assert checkpoint.provenance["targets"] > 0
    env = gymnasium.make("HWM-v0", checkpoint=made, task=None, obs_mode="pixels_state")
    env.reset(seed=0)
    observation = env.step(env.action_space.sample())[0]
    assert env.observation_space.contains(observation)
