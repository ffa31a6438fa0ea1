"""Trains the pose read-out on tokenised recordings with true poses."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.data.reader import Dataset
from hwm_env.data.windows import ClipWindows
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masking import corrupt
from hwm_env.model.readout import PoseReadout, ReadoutConfig
from hwm_env.training.schedule import Schedule
from hwm_env.types import FRAMES_PER_CLIP


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadoutTrainingConfig(Schedule):
    """Recipe of a read-out training run."""

    steps: int = 1200
    """Optimizer steps."""
    batch_size: int = 256
    """Clips a step."""
    learning_rate: float = 1e-3
    """Peak of the schedule."""
    max_corruption: float = 0.2
    """Tokens are replaced by random ones at a rate drawn from U(0, max_corruption): predicted clips are not perfect."""
    seed: int = 0
    """Of initialisation, batches and corruption."""

    def __post_init__(self) -> None:
        """Raises InvalidInputError with the field's name."""
        Schedule.__post_init__(self)
        if self.batch_size < 1:
            raise InvalidInputError(f"batch_size must be at least 1, got {self.batch_size}")


@dataclass(frozen=True, slots=True)
class PoseError:
    """Errors of a read-out on real tokens of a held-out split."""

    median_position_m: float
    median_heading_deg: float
    p90_position_m: float
    p90_heading_deg: float
    clips: int


def train_readout(data: Dataset, config: ReadoutTrainingConfig, model_config: MaskedHWMConfig) -> PoseReadout:
    """Trains a read-out.

    Args:
        data: a split with tokens and true poses.
        config: the recipe.
        model_config: of the world model whose tokens it shall read.

    Returns:
        The read-out, in evaluation mode.

    Raises:
        DatasetError: the data have no tokens or no poses.
    """
    tokens, poses = labelled_clips(data)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        readout = PoseReadout(ReadoutConfig(fsq_levels=model_config.fsq_levels, grid_size=model_config.grid_size))
    targets = _targets(poses, readout.config.position_scale_m)
    optimizer = torch.optim.AdamW(readout.parameters(), lr=config.learning_rate, weight_decay=0.05)
    for step in tqdm(range(config.steps), desc="train-readout", unit="step"):
        chosen = torch.randint(len(tokens), (config.batch_size,), generator=generator)
        seen = corrupt(tokens[chosen], readout.fsq.codebook_size, config.max_corruption, generator)
        loss = (readout(seen) - targets[chosen]).abs().mean()
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * config.share_at(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return readout.eval()


def judge_readout(readout: PoseReadout, data: Dataset) -> PoseError:
    """Errors of a read-out on the real tokens of another split."""
    tokens, poses = labelled_clips(data)
    read = torch.cat([readout.pose(part) for part in tokens.split(256)])
    position = (read[:, :2] - poses[:, :2]).norm(dim=1)
    turn = read[:, 2] - poses[:, 2]
    heading = torch.atan2(turn.sin(), turn.cos()).abs().rad2deg()
    return PoseError(
        median_position_m=position.median().item(),
        median_heading_deg=heading.median().item(),
        p90_position_m=position.quantile(0.9).item(),
        p90_heading_deg=heading.quantile(0.9).item(),
        clips=len(tokens),
    )


def labelled_clips(data: Dataset) -> tuple[Tensor, Tensor]:
    """All whole clips and the pose at each one's last frame: int32 [N, 3, H, W] and float32 [N, 3].

    Raises:
        DatasetError: the data have no tokens or no poses.
    """
    windows = ClipWindows(data, 1)
    tokens = torch.from_numpy(windows.gather(np.arange(len(windows))).tokens[:, 0])
    poses = np.empty((len(windows), 3), dtype=np.float32)
    for index in range(len(windows)):
        shard, clip = windows.locate(index)
        of_shard = data.shards[shard].poses
        if of_shard is None:
            raise DatasetError(
                f"{data.directory} has no true poses; a read-out needs recordings of the reference world"
            )
        poses[index] = of_shard[(clip + 1) * FRAMES_PER_CLIP - 1]
    return tokens, torch.from_numpy(poses)


def _targets(poses: Tensor, position_scale_m: float) -> Tensor:
    yaw = poses[:, 2:]
    return torch.cat([poses[:, :2] / position_scale_m, yaw.cos(), yaw.sin()], dim=1)
