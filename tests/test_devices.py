"""A device that is wrong or absent is one line, wherever one can be named."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import gymnasium
import pytest
import torch

import hwm_env  # noqa: F401 (registers the environments)
from hwm_env.checkpoint import load, load_tokenizer
from hwm_env.cli import main
from hwm_env.cli.commands import COMMANDS
from hwm_env.devices import check_device
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.lpips import LPIPS
from hwm_env.evaluation.video_features import VideoFeatures
from hwm_env.simulator import WorldSimulator
from hwm_env.tokenizers.cosmos import CosmosTokenizer
from hwm_env.tokenizers.recordings import tokenize_recordings
from hwm_env.training.scene.train import SceneTrainingConfig, train_scene
from hwm_env.training.tokenizer.decoder import DecoderTrainingConfig, train_decoder
from hwm_env.training.tokenizer.train import TokenizerTrainingConfig, train_tokenizer

ABSENT = ("banana", "cuda:99", "cpu:1", "meta", "", "x" * 5000, "mps:\0", 3, None)


@pytest.mark.parametrize("device", ABSENT, ids=lambda device: str(device)[:10])
def test_absent_devices(device: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^device must be an available one \(cpu") as caught:
        check_device(device)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_devices_that_are_here() -> None:
    assert check_device("cpu") == check_device(torch.device("cpu")) == torch.device("cpu")


NO_GPU = pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
HERE = Path("nowhere")
CONSTRUCTORS: dict[str, Callable[[Path, str], object]] = {
    "load": lambda checkpoint, device: load(checkpoint, device=device),
    "load_tokenizer": lambda checkpoint, device: load_tokenizer(checkpoint, device=device),
    "simulator": lambda checkpoint, device: WorldSimulator.from_pretrained(checkpoint, device=device),
    "env": lambda checkpoint, device: gymnasium.make("HWM-v0", checkpoint=checkpoint, device=device),
    "reference": lambda checkpoint, device: gymnasium.make("HWMReference-v0", checkpoint=checkpoint, device=device),
    "envs": lambda checkpoint, device: gymnasium.make_vec("HWM-v0", 2, checkpoint=checkpoint, device=device),
    "lpips": lambda checkpoint, device: LPIPS.load(checkpoint / "model.safetensors", device),
    "video features": lambda checkpoint, device: VideoFeatures.load(checkpoint / "model.safetensors", device),
    "cosmos": lambda checkpoint, device: CosmosTokenizer.load(checkpoint, device=device),
    "tokenize": lambda checkpoint, device: tokenize_recordings(HERE, HERE, lambda: None, device=device),
    "train_tokenizer": lambda checkpoint, device: train_tokenizer(HERE, HERE, TokenizerTrainingConfig(), device=device),
    "train_decoder": lambda checkpoint, device: train_decoder(
        None, None, None, HERE, DecoderTrainingConfig(), device=device
    ),
    "train_scene": lambda checkpoint, device: train_scene(
        None, None, None, HERE, None, SceneTrainingConfig(), device=device
    ),
}


@pytest.mark.parametrize("device", ["banana", pytest.param("cuda", marks=NO_GPU)])
@pytest.mark.parametrize("make", CONSTRUCTORS.values(), ids=CONSTRUCTORS)
def test_constructors(tiny_checkpoint: Path, make: Callable[[Path, str], object], device: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"device must be an available one \(.*got '{device}'"):
        make(tiny_checkpoint, device)


OPTIONS = {
    "tokenize": "source out --tokenizer room-64",
    "train-scene": "room-64 data --validation data --out out",
    "train-decoder": "room-64 data --validation data --out out",
    "train-tokenizer": "data --out out",
    "generate": "room-64 data --out out",
    "fidelity": "--checkpoint room-64",
    "calibrate": "room-64",
    "certify": "room-64",
    "replay": "episode.npz",
    "serve": "room-64",
    "train": "data --tokenizer room-64 --out out",
    "train-readout": "room-64 data --validation data",
    "evaluate": "policies.experts:for_task",
}


@pytest.mark.parametrize("device", ["banana", pytest.param("cuda", marks=NO_GPU)])
@pytest.mark.parametrize("command", OPTIONS)
def test_commands(command: str, device: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([command, *OPTIONS[command].split(), "--device", device]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("hwm-env: device must be an available one (cpu")


def test_every_command_with_a_device_is_tried() -> None:
    configs = {name: command.load(command.config) for name, command in COMMANDS.items()}
    having = {name for name, config in configs.items() if "device" in {field.name for field in fields(config)}}
    assert having == {*OPTIONS}
