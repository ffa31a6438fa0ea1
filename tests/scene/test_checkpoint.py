"""A checkpoint's scene: what is written is read back, and damage is named."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwm_env.checkpoint import load, save
from hwm_env.errors import CheckpointError
from hwm_env.scene.model import SceneConfig
from tests.scene.scenes import CAMERA, CONFIG, make_checkpoint, make_scene


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory of a checkpoint with a scene."""
    directory = tmp_path_factory.mktemp("checkpoint")
    save(make_checkpoint(), directory)
    return directory


@pytest.fixture
def directory(saved: Path, tmp_path: Path) -> Path:
    """Returns a copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "checkpoint"))


@pytest.mark.parametrize("camera", [None, CAMERA])
def test_a_scene_in_float32_survives_to_the_bit(tmp_path: Path, camera: Any) -> None:
    scene = make_scene(
        walls=True, config=replace(CONFIG, camera=camera), history_weights=(0.25, 0.0), unknown_above=7.0
    )
    scene.model.set_statistics(torch.linspace(-1, 1, 25), torch.linspace(0.1, 2, 25))
    original = make_checkpoint(scene)
    save(original, tmp_path, weights=torch.float32)
    loaded = load(tmp_path)
    assert loaded.scene is not None
    assert not loaded.scene.training
    assert loaded.scene.use == scene.use
    assert loaded.scene.model.config == scene.model.config
    expected, got = scene.state_dict(), loaded.scene.state_dict()
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert loaded.identity == original.identity
    poses, numbers = torch.rand(2, 3, 3), torch.rand(2, 3, 25)
    assert torch.equal(loaded.scene.model(poses, numbers), scene.model(poses, numbers))


def test_half_precision_is_what_a_file_holds_by_default(saved: Path) -> None:
    expected, loaded = make_checkpoint().scene, load(saved)
    assert expected is not None
    assert loaded.scene is not None
    for name, weight in loaded.scene.state_dict().items():
        assert torch.equal(weight, expected.state_dict()[name].half().float())


def test_how_the_scene_is_used_is_part_of_the_identity() -> None:
    """Their replays would differ."""
    uses = (make_scene(), make_scene(history_weights=(0.1,)), make_scene(unknown_above=3.0))
    assert len({make_checkpoint(scene).identity for scene in uses}) == len(uses)


def test_the_scenes_weights_are_part_of_the_identity() -> None:
    checkpoint = make_checkpoint()
    without = replace(checkpoint, scene=None)
    assert checkpoint.scene is not None
    identities = {checkpoint.identity, without.identity, make_checkpoint(make_scene(seed=1)).identity}
    assert len(identities) == 3
    for weight in (checkpoint.scene.model.map.planes[2], checkpoint.scene.odometry.third.bias):
        before = checkpoint.identity
        with torch.no_grad():
            weight.view(-1)[-1] += 1
        assert checkpoint.identity != before


def test_a_checkpoint_without_a_scene_is_one_too(directory: Path) -> None:
    """Checkpoints from before scenes existed have no such section."""
    content = json.loads((directory / "config.json").read_text())
    del content["scene"]
    (directory / "config.json").write_text(json.dumps(content))
    assert load(directory).scene is None


def test_missing_and_truncated_weights_are_named(directory: Path) -> None:
    file = directory / "scene.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"scene\.safetensors is damaged"):
        load(directory)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"scene\.safetensors, found nothing"):
        load(directory)


Content = dict[str, Any]


def changed(section: str, **values: Any) -> Callable[[Content], Any]:
    return lambda scene: scene | {section: scene[section] | values}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda scene: scene | {"version": 2}, id="version"),
        pytest.param(lambda scene: {name: part for name, part in scene.items() if name != "use"}, id="lacking"),
        pytest.param(lambda scene: "room", id="text"),
        pytest.param(lambda scene: [scene], id="list"),
        pytest.param(changed("model", ceiling=2), id="unknown field"),
        pytest.param(changed("model", map=3), id="map"),
        pytest.param(changed("model", camera=["neck"]), id="camera"),
        pytest.param(changed("model", grid_size=[8]), id="grid"),
        pytest.param(changed("model", width="wide"), id="width"),
        pytest.param(changed("use", history_weights=[2.0]), id="weights"),
        pytest.param(changed("odometry", hidden=-3), id="odometry"),
    ],
)
def test_a_damaged_section_is_refused(directory: Path, damage: Callable[[Content], Any]) -> None:
    content = json.loads((directory / "config.json").read_text())
    content["scene"] = damage(content["scene"])
    (directory / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(directory)


def test_weights_of_another_shape_are_listed(directory: Path) -> None:
    content = json.loads((directory / "config.json").read_text())
    content["scene"]["model"]["num_blocks"] = 2
    content["scene"]["odometry"]["hidden"] = 16
    (directory / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"missing tensors \['model.blocks.1.*odometry.first.bias \(8,\) instead"):
        load(directory)


@pytest.mark.parametrize("config", [replace(CONFIG, grid_size=(4, 8)), replace(CONFIG, fsq_levels=(8, 8))], ids=str)
def test_a_scene_of_other_tokens_does_not_fit(config: SceneConfig) -> None:
    with pytest.raises(CheckpointError, match="the scene does not fit"):
        make_checkpoint(make_scene(config=config))
