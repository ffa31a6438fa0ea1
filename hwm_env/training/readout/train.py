"""Trains the read-out on tokenised recordings with true poses."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.data.windows import ClipWindows
from hwm_env.devices import check_device
from hwm_env.draws import seeds_of
from hwm_env.evaluation.worlds.readout_error import Summary, summarise
from hwm_env.fields import Count, NotNegative, Positive, Seed, Share
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masking import corrupt
from hwm_env.model.readout import Readout, ReadoutConfig, to_raw
from hwm_env.reference.body import quantities
from hwm_env.training.runs.pace import Pace
from hwm_env.training.runs.schedule import Recipe
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP

JUDGED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadoutTrainingConfig(Recipe):
    """The recipe of a read-out training run."""

    steps: Count = 1500
    """Optimizer steps."""
    batch_size: Count = 256
    """Clips for each step."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    weight_decay: NotNegative = 0.05
    """Weight decay of AdamW."""
    max_corruption: Share = 0.2
    """Tokens are replaced by random ones at a rate drawn from U(0, max_corruption), as predicted clips have errors."""
    seed: Seed = 0
    """Seed of initialisation, batches and corruption."""


def train_readout(
    data: Dataset, config: ReadoutTrainingConfig, model_config: MaskedHWMConfig, device: str | torch.device = "cpu"
) -> Readout:
    """Trains a read-out.

    Args:
        data: a split with tokens and true poses.
        config: the recipe.
        model_config: shape of the world model whose tokens the read-out reads.
        device: device to train on.

    Returns:
        The read-out, in evaluation mode, on the CPU.

    Raises:
        DatasetError: the split has no tokens or no poses.
        InvalidInputError: there is no such device.
    """
    device = check_device(device)
    config = config.resolved(device)
    tokens, truth = labelled_clips(data)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        # Weights and dropout use this generator.
        torch.manual_seed(config.seed)
        readout = Readout(ReadoutConfig(fsq_levels=model_config.fsq_levels, grid_size=model_config.grid_size))
        tokens, targets = tokens.to(device), to_raw(truth, readout.config.position_scale_m).to(device)
        readout.to(device)
        optimizer = torch.optim.AdamW(readout.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        pace = Pace(config)
        for step in pace.steps(0, "train-readout"):
            chosen = torch.randint(len(tokens), (config.batch_size,), generator=generator).to(device)
            seeds = seeds_of(config.seed, step, range(config.batch_size)).to(device)
            seen = corrupt(tokens[chosen], readout.fsq.codebook_size, config.max_corruption, seeds)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                outputs = readout(seen)
            loss = (outputs.float() - targets[chosen]).abs().mean()
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * config.share_at(pace.position)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return readout.cpu().eval()


def judge_readout(readout: Readout, data: Dataset) -> Summary:
    """Measures the errors of a read-out on the recorded tokens of another split, by quantity.

    Raises:
        DatasetError: the split has no tokens or no poses.
    """
    tokens, truth = labelled_clips(data)
    return summarise(torch.cat([readout.read(part) for part in tokens.split(JUDGED_AT_ONCE)]), truth)


def labelled_clips(data: Dataset) -> tuple[Tensor, Tensor]:
    """Returns all whole clips and the true quantities at their last frames: int32 [N, 3, H, W] and float32 [N, 15].

    Raises:
        DatasetError: the split has no tokens or no poses.
    """
    windows = ClipWindows(data, 1)
    tokens = torch.from_numpy(windows.gather(np.arange(len(windows))).tokens[:, 0])
    poses = np.empty((len(windows), 3), np.float32)
    data.require(ShardFile.POSES)
    numbers = np.empty((len(windows), ACTION_DIM), np.float32)
    for index in range(len(windows)):
        shard, clip = windows.locate(index)
        of_shard = data.shards[shard].poses
        assert of_shard is not None
        last_frame = (clip + 1) * FRAMES_PER_CLIP - 1
        poses[index], numbers[index] = of_shard[last_frame], data.shards[shard].states[last_frame]
    return tokens, torch.from_numpy(quantities(poses, numbers)).float()
