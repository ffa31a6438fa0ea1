"""Which action does a clip show? A small network learns to say it of real clips, and is then shown predicted ones.

A world that moves its pictures as commanded, whatever the command, scores on predicted clips what the network scores on
real ones. Used so to judge video generators for robots, e.g. in Jang et al., "DreamGen", arXiv 2505.12705.
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
    """How the network is trained."""

    steps: Count = 800
    """Optimizer steps."""
    batch_size: Count = 128
    """Pairs of clips a step."""
    learning_rate: Positive = 2e-3
    """Peak; falls linearly to none."""
    width: Width = 48
    """Channels of the first layer; twice as many after it."""
    seed: Seed = 0
    """Of weights and batches."""


class InverseDynamics(nn.Module):
    """From two neighbouring clips' tokens to what was done in the second: means over its 17 frames, in standard
    deviations of the training data."""

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
        """Tokens of two clips, int [B, 3, H, W], to [B, len(NAMES)]."""
        pair = torch.stack([before_BLHW, clip_BLHW], dim=1)
        values = self.fsq.digits_to_values(self.fsq.codes_to_digits(pair))
        outputs: Tensor = self.layers(rearrange(values, "b t l h w c -> b (t l c) h w"))
        return outputs


def shown_actions(chunks: Tensor) -> Tensor:
    """What a clip can show of its actions, [N, 17, 25] to [N, len(NAMES)]: means over the frames."""
    return chunks[:, :, _COLUMNS].mean(1)


@dataclass(frozen=True, slots=True, eq=False)
class Recognition:
    """A network that has learned to say what clips show, and what it says of given ones."""

    network: InverseDynamics
    """In evaluation mode."""
    mean: Tensor
    """Of `shown_actions` of the training data, [len(NAMES)]."""
    std: Tensor
    """The same."""

    @torch.no_grad()
    def of(self, before: Tensor, clips: Tensor) -> Tensor:
        """What clips show, [N, len(NAMES)] in physical units; tokens as in `learn_to_recognise`."""
        parts = zip(before.split(256), clips.split(256), strict=True)
        return torch.cat([self.network(earlier, later) for earlier, later in parts]) * self.std + self.mean


def learn_to_recognise(
    before: Tensor, clips: Tensor, chunks: Tensor, fsq_levels: tuple[int, ...], config: InverseDynamicsConfig
) -> Recognition:
    """Learns from real clips.

    Args:
        before: tokens of the clips before, int [N, 3, H, W].
        clips: tokens of the clips, the same.
        chunks: their actions, [N, 17, 25].
        fsq_levels: of the tokenizer.
        config: how.

    Raises:
        InvalidInputError: fewer than FEWEST_PAIRS.
    """
    if len(clips) < FEWEST_PAIRS:
        raise InvalidInputError(f"expected at least {FEWEST_PAIRS} pairs of clips to learn from, got {len(clips)}")
    wanted = shown_actions(chunks)
    mean, std = wanted.mean(0), wanted.std(0).clamp(min=1e-3)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = InverseDynamics(fsq_levels, (clips.shape[2], clips.shape[3]), config.width)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.05)
        for step in range(config.steps):
            chosen = torch.randint(len(clips), (config.batch_size,), generator=generator)
            loss = (network(before[chosen], clips[chosen]) - (wanted[chosen] - mean) / std).abs().mean()
            optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.steps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Recognition(network.eval(), mean, std)


def explained(said: Tensor, wanted: Tensor) -> dict[str, float]:
    """How much of what was wanted was said: R^2 over all clips, mean over a group's numbers; 1 is all, 0 is nothing.

    Args:
        said: [N, len(NAMES)].
        wanted: the same.
    """
    spread = (wanted - wanted.mean(0)).square().sum(0).clamp(min=1e-12)
    return _by_group(1 - (wanted - said).square().sum(0) / spread)


def differences_shown(said: Tensor, wanted: Tensor) -> dict[str, float]:
    """How much of the differences between two clips each is said, on the average: slope of the regression through 0,
    mean over a group's numbers.

    Of actions that are recognised so well that R^2 is what `explained` gives, a world that listens shows that share: it
    is the slope of the best guess. One that does not listen shows 0, and what the network guesses wrong in both clips
    does not count, as small as the differences may be. Arguments as in `explained`.
    """
    return _by_group((said * wanted).sum(0) / wanted.square().sum(0).clamp(min=1e-12))


def _by_group(numbers: Tensor) -> dict[str, float]:
    shares = dict(zip(NAMES, numbers.tolist(), strict=True))
    return {group: sum(shares[name] for name in names) / len(names) for group, names in GROUPS.items()}
