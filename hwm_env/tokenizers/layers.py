"""Layers of the built-in tokenizer, on features [B, T, H, W, C] (T: time steps, channels last)."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

TIME_TAPS = 2
"""Earlier time steps that a block uses: for the 3 latents of a clip, all of them."""


class Convolution3x3(nn.Module):
    """A 3 x 3 convolution over height and width, separately for each time step."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        # Stored as a matrix, so that optimisers for matrices (Muon) apply to it.
        self.weight = nn.Parameter(torch.randn(width_out, 9 * width_in) / (9 * width_in) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(width_out))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, T, H, W, width_in] to [B, T, H, W, width_out]."""
        kernel = rearrange(self.weight, "o (h w i) -> o i h w", h=3, w=3)
        images = rearrange(x, "b t h w c -> (b t) c h w")
        return rearrange(functional.conv2d(images, kernel, self.bias, padding=1), "(b t) c h w -> b t h w c", b=len(x))


class CausalResidualBlock(nn.Module):
    """A residual block of two 3 x 3 convolutions and a linear map of the two time steps before.

    It is causal: a time step depends on itself and on earlier ones. At initialisation, it is the identity.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.space = Convolution3x3(width, width)
        self.time = nn.Linear(TIME_TAPS * width, width, bias=False)
        self.out = Convolution3x3(width, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, T, H, W, width] to the same shape."""
        y = channel_norm(x)
        first = y[:, :1]
        # Before the first time step, the first one is repeated.
        past = torch.cat([first.expand(-1, TIME_TAPS, -1, -1, -1), y[:, :-1]], dim=1)
        taps = [past[:, TIME_TAPS - tap : past.shape[1] + 1 - tap] for tap in range(1, TIME_TAPS + 1)]
        y = self.space(y) + self.time(torch.cat(taps, dim=-1))
        update: Tensor = self.out(functional.silu(y))
        return x + update


def channel_norm(x: Tensor) -> Tensor:
    """Divides by the root mean square over channels, without a gain, which is redundant before a linear map."""
    return functional.rms_norm(x, (x.shape[-1],), None, 1e-5)


def space_to_depth(x: Tensor, factor: int) -> Tensor:
    """Rearranges [B, T, H * factor, W * factor, C] to [B, T, H, W, factor * factor * C]."""
    return rearrange(x, "b t (h y) (w x) c -> b t h w (y x c)", y=factor, x=factor)


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """Rearranges [B, T, H, W, factor * factor * C] to [B, T, H * factor, W * factor, C]."""
    return rearrange(x, "b t h w (y x c) -> b t (h y) (w x) c", y=factor, x=factor)
