"""The encoder and the decoder of the built-in tokenizer.

Nearly all layers compute 3 time steps: the first layer folds the 8 frames of a latent into channels, and a layer near
the end of the decoder unfolds them. Frame 0 is repeated 8 times, so that the first latent has the same form as the
others. Only causal blocks mix time steps, and norms are over channels, so that no statistics leak between time steps.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from hwm_env.tokenizers.layers import (
    TIME_TAPS,
    CausalResidualBlock,
    Convolution3x3,
    channel_norm,
    depth_to_space,
    space_to_depth,
)

FRAMES_PER_LATENT = 8
PATCH = 4
"""Pixels for each cell of the fine grid in both directions; the token grid is half as fine."""


class Encoder(nn.Module):
    """Maps images to unbounded latents."""

    def __init__(self, *, num_digits: int, coarse_width: int, fine_width: int, num_blocks: tuple[int, int]) -> None:
        """Builds the layers.

        Args:
            num_digits: numbers a latent position (n).
            coarse_width: channels on the token grid.
            fine_width: channels on the fine grid.
            num_blocks: blocks on the fine grid, on the token grid.
        """
        super().__init__()
        self.stem = nn.Linear(FRAMES_PER_LATENT * PATCH**2 * 3, fine_width)
        self.fine = _blocks(num_blocks[0], fine_width)
        self.downsample = nn.Linear(4 * fine_width, coarse_width)
        self.coarse = _blocks(num_blocks[1], coarse_width)
        self.to_latents = nn.Linear(coarse_width, num_digits)

    def forward(self, images: Tensor) -> Tensor:
        """Maps [B, 17, H, W, 3] in [-1, 1] to [B, 3, H / 8, W / 8, n] of the same type."""
        x = space_to_depth(images, PATCH)
        x = torch.cat([x[:, :1].expand(-1, FRAMES_PER_LATENT - 1, -1, -1, -1), x], dim=1)
        x = self.fine(self.stem(rearrange(x, "b (t f) h w c -> b t h w (f c)", f=FRAMES_PER_LATENT)))
        x = self.coarse(self.downsample(space_to_depth(x, 2)))
        latents: Tensor = self.to_latents(channel_norm(x))
        return latents


class Decoder(nn.Module):
    """Maps the values of digits to images."""

    def __init__(
        self,
        *,
        num_digits: int,
        coarse_width: int,
        fine_width: int,
        frame_width: int,
        pixel_width: int,
        num_blocks: tuple[int, int, int],
    ) -> None:
        """Builds the layers.

        Args:
            num_digits: numbers a latent position (n).
            coarse_width: channels on the token grid.
            fine_width: channels on the fine grid.
            frame_width: channels on the fine grid of single frames.
            pixel_width: channels at half of the image's resolution.
            num_blocks: blocks on the token grid, on the fine grid, on the fine grid of single frames.
        """
        super().__init__()
        self.from_values = nn.Linear(num_digits, coarse_width)
        self.coarse = _blocks(num_blocks[0], coarse_width)
        self.upsample = nn.Linear(coarse_width, 4 * fine_width)
        self.fine = _blocks(num_blocks[1], fine_width)
        self.to_first_frame = nn.Linear(fine_width, frame_width)
        self.to_frames = nn.Linear(fine_width, FRAMES_PER_LATENT * frame_width)
        self.frames = _blocks(num_blocks[2], frame_width)
        self.to_half = nn.Linear(frame_width, 4 * pixel_width)
        self.refine = Convolution3x3(pixel_width, pixel_width)
        self.to_pixels = Convolution3x3(pixel_width, 4 * 3)

    def forward(self, values: Tensor) -> Tensor:
        """Maps [B, 3, h, w, n] in [-1, 1] to [B, 17, 8 * h, 8 * w, 3], roughly in [-1, 1]."""
        return self._drawn(self._by_frame(values))

    def last_frame(self, values: Tensor) -> Tensor:
        """Returns only the last of these frames, [B, 1, 8 * h, 8 * w, 3]."""
        return self._last_drawn(self._by_frame(values))

    def frames_ending_alike(self, values: Tensor) -> Tensor:
        """Returns all frames; unlike in `forward`, the last one equals `last_frame` to the bit."""
        x = self._by_frame(values)
        return torch.cat([self._drawn(x)[:, :-1], self._last_drawn(x)], dim=1)

    def _by_frame(self, values: Tensor) -> Tensor:
        """Returns the features of single frames on the fine grid, [B, 17, 2 * h, 2 * w, frame_width]."""
        x = self.coarse(self.from_values(values))
        x = channel_norm(self.fine(depth_to_space(self.upsample(x), 2)))
        later = rearrange(self.to_frames(x[:, 1:]), "b t h w (f c) -> b (t f) h w c", f=FRAMES_PER_LATENT)
        return torch.cat([self.to_first_frame(x[:, :1]), later], dim=1)

    def _drawn(self, by_frame: Tensor) -> Tensor:
        x = self.frames(by_frame)
        x = functional.silu(depth_to_space(self.to_half(channel_norm(x)), 2))
        x = functional.silu(x + self.refine(x))
        return depth_to_space(self.to_pixels(x), 2)

    def _last_drawn(self, by_frame: Tensor) -> Tensor:
        # A frame depends only on the earlier frames that the blocks attend to, `TIME_TAPS` for each block.
        return self._drawn(by_frame[:, -(1 + TIME_TAPS * len(self.frames)) :])[:, -1:]


def _blocks(count: int, width: int) -> nn.Sequential:
    return nn.Sequential(*(CausalResidualBlock(width) for _ in range(count)))
