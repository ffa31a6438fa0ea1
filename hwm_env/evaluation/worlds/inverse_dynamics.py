"""Inverse dynamics: a small network learns from real clips to estimate their actions, and is applied to predicted ones.

On the clips of a world that follows its actions the network scores as on real clips. Inverse dynamics are used in this
way to judge video generators for robots, e.g. in Jang et al., "DreamGen", arXiv 2505.12705.
"""

from dataclasses import dataclass
from typing import Final

import torch
from einops import rearrange
from torch import Tensor, nn

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, Positive, Seed, Width
from hwm_env.tokenizers.fsq import FSQ
from hwm_env.types import ACTION_NAMES

GROUPS: Final = {
    "driving": ("linear_velocity", "angular_velocity"),
    "neck": ("neck_pitch",),
    "left arm": ("left_shoulder_pitch", "left_shoulder_roll", "left_elbow_pitch"),
    "right arm": ("right_shoulder_pitch", "right_shoulder_roll", "right_elbow_pitch"),
}
"""Numbers that a head camera can see, by the part of the robot that they move."""
NAMES: Final = tuple(name for names in GROUPS.values() for name in names)
_COLUMNS: Final = [ACTION_NAMES.index(name) for name in NAMES]
FEWEST_PAIRS: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class InverseDynamicsConfig(CheckedFields):
    """Training of the inverse-dynamics network."""

    steps: Count = 800
    """Optimizer steps."""
    batch_size: Count = 128
    """Pairs of clips a step."""
    learning_rate: Positive = 2e-3
    """Learning rate at the beginning; decays linearly to 0."""
    width: Width = 48
    """Channels of the first layer; the second has twice as many."""
    seed: Seed = 0
    """Seed of weights and batches."""


class InverseDynamics(nn.Module):
    """Estimates the mean actions of a clip from its tokens and those of the clip before.

    Outputs are means over the 17 frames, in standard deviations of the training data.
    """

    def __init__(self, fsq_levels: tuple[int, ...], grid_size: tuple[int, int], width: int) -> None:
        super().__init__()
        self.fsq = FSQ(fsq_levels)
        channels = 6 * len(fsq_levels)  # Two clips of three latents.
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, stride=2),
            nn.GELU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(2 * width * -(-grid_size[0] // 2) * -(-grid_size[1] // 2), 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, len(NAMES)),
        )

    def forward(self, before_BLHW: Tensor, clip_BLHW: Tensor) -> Tensor:
        """Maps the tokens of two successive clips, int [B, 3, H, W], to estimates, float32 [B, len(NAMES)]."""
        pair = torch.stack([before_BLHW, clip_BLHW], dim=1)
        values = self.fsq.digits_to_values(self.fsq.codes_to_digits(pair))
        outputs: Tensor = self.layers(rearrange(values, "b t l h w c -> b (t l c) h w"))
        return outputs


def shown_actions(chunks: Tensor) -> Tensor:
    """Returns the part of actions [N, 17, 25] that a clip can show: means over the frames, [N, len(NAMES)]."""
    return chunks[:, :, _COLUMNS].mean(1)


@dataclass(frozen=True, slots=True, eq=False)
class Recognition:
    """A trained network with the normalisation of its outputs."""

    network: InverseDynamics
    """The network, in evaluation mode."""
    mean: Tensor
    """Mean of `shown_actions` over the training data, [len(NAMES)]."""
    std: Tensor
    """Standard deviation of the same, [len(NAMES)]."""

    @torch.no_grad()
    def estimate(self, before: Tensor, clips: Tensor) -> Tensor:
        """Estimates the actions of clips, [N, len(NAMES)] in physical units; arguments as in `learn_to_recognise`."""
        parts = zip(before.split(256), clips.split(256), strict=True)
        return torch.cat([self.network(earlier, later) for earlier, later in parts]) * self.std + self.mean


def learn_to_recognise(
    before: Tensor, clips: Tensor, chunks: Tensor, fsq_levels: tuple[int, ...], config: InverseDynamicsConfig
) -> Recognition:
    """Trains a network on real clips.

    Args:
        before: tokens of the clip before each clip, int [N, 3, H, W].
        clips: tokens of the clips, int [N, 3, H, W].
        chunks: actions of the clips, [N, 17, 25].
        fsq_levels: FSQ levels of the tokenizer.
        config: training settings.

    Raises:
        InvalidInputError: fewer than FEWEST_PAIRS clips.
    """
    if len(clips) < FEWEST_PAIRS:
        raise InvalidInputError(f"expected at least {FEWEST_PAIRS} pairs of clips to learn from, got {len(clips)}")
    targets = shown_actions(chunks)
    mean, std = targets.mean(0), targets.std(0).clamp(min=1e-3)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = InverseDynamics(fsq_levels, (clips.shape[2], clips.shape[3]), config.width)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.05)
        for step in range(config.steps):
            chosen = torch.randint(len(clips), (config.batch_size,), generator=generator)
            loss = (network(before[chosen], clips[chosen]) - (targets[chosen] - mean) / std).abs().mean()
            optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.steps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Recognition(network.eval(), mean, std)


def explained(estimates: Tensor, truth: Tensor) -> dict[str, float]:
    """Returns R^2 (explained variance) of estimated actions by group, mean over its numbers; 1 is perfect.

    Args:
        estimates: estimated actions, [N, len(NAMES)].
        truth: true actions, [N, len(NAMES)].
    """
    spread = (truth - truth.mean(0)).square().sum(0).clamp(min=1e-12)
    return _by_group(1 - (truth - estimates).square().sum(0) / spread)


def differences_shown(estimates: Tensor, truth: Tensor) -> dict[str, float]:
    """Returns the shown share of action differences by group: slope of the regression through 0, mean over its numbers.

    A world that follows its actions shows about the share R^2 of `explained` on real clips, which is the slope of the
    best estimate; a world that ignores them shows 0. Errors that the network makes in both clips cancel.

    Args:
        estimates: estimated differences between two clips each, [N, len(NAMES)].
        truth: differences between their actions, [N, len(NAMES)].
    """
    return _by_group((estimates * truth).sum(0) / truth.square().sum(0).clamp(min=1e-12))


def _by_group(scores: Tensor) -> dict[str, float]:
    shares = dict(zip(NAMES, scores.tolist(), strict=True))
    return {group: sum(shares[name] for name in names) / len(names) for group, names in GROUPS.items()}
