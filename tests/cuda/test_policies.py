"""Policies and another tokenizer on a GPU: an evaluation, PPO with world and policy there, the Cosmos adapter."""

from pathlib import Path

import pytest
import torch

from hwm_env.checkpoint import Checkpoint, load
from hwm_env.evaluation.policies.evaluation import EvaluationConfig, evaluate
from hwm_env.tokenizers.cosmos import CosmosTokenizer
from tests.tokenizers.cosmos import write_stand_ins

pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")]


def test_policies_are_evaluated(device: torch.device, tmp_path: Path) -> None:
    config = EvaluationConfig(
        policies=["tests.evaluation.policies.scripted:turners"],
        tasks=["face-target"],
        starts=4,
        worlds=["learned"],
        max_steps=3,
    )
    report = evaluate(load("room-64", device=device), config, tmp_path, command="")
    assert len(report["cases"]) == 4
    assert set(report["tasks"]) == {"face-target"}


def test_ppo_trains_with_world_and_policy_there(device: torch.device, tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    from policies.train import TrainingRun, train

    run = TrainingRun(out=tmp_path / "ppo.zip", steps=128, num_envs=16, max_steps=5, device=str(device))
    assert len(train(run).episodes) > 0
    assert run.out.exists()


def test_the_built_in_tokenizer_takes_clips_of_either_device(device: torch.device, room_64: Checkpoint) -> None:
    there = load("room-64", device=device).tokenizer
    tokens = room_64.starts.tokens[:3, 0]
    clips = there.decode(tokens)
    assert clips.device.type == there.encode(clips).device.type == "cpu"
    assert torch.equal(there.decode(tokens.to(device)).cpu(), clips)
    # Rounding in another order moves few values of a clip by one level.
    assert (clips.int() - room_64.tokenizer.decode(tokens).int()).abs().max() <= 2


def test_cosmos_encodes_and_decodes(device: torch.device, tmp_path: Path) -> None:
    directory = write_stand_ins(tmp_path)
    here, there = (CosmosTokenizer.load(directory, device=name, dtype=torch.float32) for name in ("cpu", device))
    assert here.identity == there.identity
    clips = torch.randint(256, (3, 17, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tokens = there.encode(clips.to(device))
    assert tokens.device.type == device.type
    # A sum in another order may round a mean colour to the other side.
    assert (tokens.cpu() == here.encode(clips)).float().mean() > 0.99
    assert torch.equal(there.decode(tokens).cpu(), here.decode(tokens.cpu()))
